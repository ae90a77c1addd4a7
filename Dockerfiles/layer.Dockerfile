# One layer of warm dependencies: every layer of the chain is built from this file.
#
# Build context: the directory of this file (its scripts are mounted, and stay out of the image). Named contexts:
#   parent    the base image for the root layer, else the image of the layer below
#   recipes   recipes.list, and for each name in it <name>/ with a package, its lock, cook.args and clean.args;
#             locked.list, lines `name version` of the packages whose entries in the registry's index stay;
#             jobs, where it is, with how many of cargo's jobs may run at once;
#             questions/, where it is, with packages that name crates to ask the index about
#   contents  the files that the target `layer` adds: contract.json, contents.json
#   tools     for the target `equipped` alone: the tools, as they will lie in the image
# Targets: `report` holds what cargo said (cook.jsonl) and what lies where (files.list), `layer` is the image,
# `equipped` the image with tools in it.
# Only the steps that download (crates, standard libraries, Debian packages) use the network of the build, and get
# secrets; all others have neither.

# `contract` for the root layer, `parent` for those above it.
ARG START=parent
# `targets` where units are compiled for other targets than the host, else `parent`.
ARG PREPARED=parent
# `installed` for a layer whose units need Debian packages, else `ready`.
ARG COOK_ON=ready

# The standard libraries of other targets, where the base image has not got them.
# hadolint ignore=DL3006
FROM parent AS targets
# Target triples, separated by blanks.
ARG TARGETS
ARG SOURCE_DATE_EPOCH
# hadolint ignore=DL3002
USER 0
RUN --mount=type=bind,source=settle.sh,target=/run/factory/settle.sh \
    --mount=type=bind,source=targets.sh,target=/run/factory/targets.sh \
    --mount=type=secret,id=ca,target=/run/factory/ca.crt,mode=0444 \
    --mount=type=tmpfs,target=/tmp \
    sh /run/factory/targets.sh

# The surroundings in which cooked units stay fresh: who owns what, where, and cargo's configuration.
# hadolint ignore=DL3006
FROM ${PREPARED} AS contract
ARG RUNNER_NAME=runner
ARG RUNNER_UID=1001
ARG RUNNER_GID=1001
ARG CARGO_HOME=/usr/local/cargo
ARG BUILD_DIR=/usr/local/cargo-build
# As which key of cargo's [build] table BUILD_DIR is set: build-dir, or target-dir for cargo before 1.91.
ARG LAYOUT=build-dir
# The flags of every rustc call that has no --target of its own, as a TOML array.
ARG RUSTFLAGS_TOML=[]
# What the rustc that the plan was made for says to `-vV`.
ARG RUSTC_VERBOSE
ARG SOURCE_DATE_EPOCH
USER 0
RUN --network=none \
    --mount=type=bind,source=settle.sh,target=/run/factory/settle.sh \
    --mount=type=bind,source=contract.sh,target=/run/factory/contract.sh \
    --mount=type=bind,source=warm-doctor.sh,target=/run/factory/warm-doctor.sh \
    --mount=type=bind,source=warm-entry.sh,target=/run/factory/warm-entry.sh \
    --mount=type=bind,source=warm-umask.sh,target=/run/factory/warm-umask.sh \
    --mount=type=tmpfs,target=/tmp \
    sh /run/factory/contract.sh
# Two users of one build directory need a umask of 002, in whichever way they come in: by `docker run`, by a RUN step
# that builds on this image, by bash.
ENV CARGO_HOME=${CARGO_HOME} \
    BASH_ENV=/usr/local/lib/warm-umask.sh
ENTRYPOINT ["/usr/local/bin/warm-entry"]
CMD ["bash"]
SHELL ["/usr/local/bin/warm-entry", "/bin/sh", "-c"]
USER ${RUNNER_UID}:${RUNNER_GID}
# In a directory of root's, `COPY . .` and a build would fail.
WORKDIR /home/${RUNNER_NAME}/src

FROM ${START} AS ready

FROM ready AS installed
ARG RUNNER_UID=1001
ARG RUNNER_GID=1001
ARG LAYER
ARG PACKAGES
# The Debian suite that the names in PACKAGES are of.
ARG SUITE
ARG SOURCE_DATE_EPOCH
USER 0
RUN --mount=type=bind,source=settle.sh,target=/run/factory/settle.sh \
    --mount=type=bind,source=system.sh,target=/run/factory/system.sh \
    --mount=type=secret,id=ca,target=/run/factory/ca.crt,mode=0444 \
    --mount=type=secret,id=apt,target=/run/factory/apt.conf,mode=0444 \
    --mount=type=secret,id=apt-sources,target=/run/factory/apt.sources,mode=0444 \
    --mount=type=tmpfs,target=/var/lib/apt/lists \
    --mount=type=tmpfs,target=/var/cache/apt \
    --mount=type=tmpfs,target=/tmp \
    sh /run/factory/system.sh
USER ${RUNNER_UID}:${RUNNER_GID}

FROM ${COOK_ON} AS cook
ARG CARGO_HOME=/usr/local/cargo
ARG BUILD_DIR=/usr/local/cargo-build
ARG LAYOUT=build-dir
ARG LAYER
ARG SOURCE_DATE_EPOCH
RUN --mount=type=bind,source=settle.sh,target=/run/factory/settle.sh \
    --mount=type=bind,source=prune.sh,target=/run/factory/prune.sh \
    --mount=type=bind,source=fetch.sh,target=/run/factory/fetch.sh \
    --mount=type=bind,from=recipes,target=/run/factory/recipes \
    --mount=type=bind,source=git-credential.sh,target=/run/factory/git-credential.sh \
    --mount=type=secret,id=ca,target=/run/factory/ca.crt,mode=0444 \
    --mount=type=secret,id=fetch-settings,target=/run/factory/fetch.toml,mode=0444 \
    --mount=type=secret,id=fetch-tokens,target=/run/factory/tokens,mode=0444 \
    --mount=type=secret,id=fetch-git,target=/run/factory/git-credentials,mode=0444 \
    --mount=type=secret,id=fetch-proxies,target=/run/factory/proxies,mode=0444 \
    --mount=type=tmpfs,target=/tmp \
    sh /run/factory/fetch.sh
RUN --network=none \
    --mount=type=bind,source=settle.sh,target=/run/factory/settle.sh \
    --mount=type=bind,source=prune.sh,target=/run/factory/prune.sh \
    --mount=type=bind,source=cook.sh,target=/run/factory/cook.sh \
    --mount=type=bind,from=recipes,target=/run/factory/recipes \
    --mount=type=tmpfs,target=/tmp \
    sh /run/factory/cook.sh

# What lies there now, this layer's and those below: lines `BYTES INODE PATH`.
FROM cook AS listing
ARG CARGO_HOME=/usr/local/cargo
ARG BUILD_DIR=/usr/local/cargo-build
RUN --network=none \
    find "$CARGO_HOME" "$BUILD_DIR" -path "$CARGO_HOME/bin" -prune -o -type f -printf '%s %i %p\n' >/tmp/files.list

FROM scratch AS report
COPY --from=cook /usr/local/share/rust-warm-factory/ /
COPY --from=listing /tmp/files.list /

FROM cook AS layer
ARG CARGO_HOME=/usr/local/cargo
ARG LAYER
ARG SOURCE_DATE_EPOCH
# Not COPY: it would keep the times of the files, which are those of this build.
RUN --network=none \
    --mount=type=bind,source=settle.sh,target=/run/factory/settle.sh \
    --mount=type=bind,source=contents.sh,target=/run/factory/contents.sh \
    --mount=type=bind,from=contents,target=/run/factory/contents \
    --mount=type=tmpfs,target=/tmp \
    sh /run/factory/contents.sh

# On top, and linked: with another version of a tool all layers below, and those of the children, stay as they are.
FROM layer AS equipped
# hadolint ignore=DL3022,DL3067
COPY --link --from=tools / /
