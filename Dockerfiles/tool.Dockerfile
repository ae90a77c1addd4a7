# One tool, compiled from its crate: what images take is a directory with /usr/local/bin/<program> and nothing else.
#
# Build context: the directory of this file (its scripts are mounted). Named contexts:
#   base      the base image of the layers
#   below     where BELOW says so: the target `tool` of another tool, which this one is added to
# Target: `tool`. It is taken by other targets of a bake, never through a local directory: files of one size and time
# would be taken for the same.
# Only the step that fetches uses the network of the build; the one that compiles has none, and is not root.

# `below`, or `scratch` for the first tool.
ARG BELOW=scratch

# hadolint ignore=DL3006
FROM base AS made
# The crate, an exact version of it, and its features, separated by blanks; "default" for the default ones.
ARG TOOL
ARG VERSION
ARG FEATURES=default
ARG SOURCE_DATE_EPOCH
USER 0
RUN --mount=type=bind,source=settle.sh,target=/run/factory/settle.sh \
    --mount=type=bind,source=tool.sh,target=/run/factory/tool.sh \
    --mount=type=secret,id=ca,target=/run/factory/ca.crt,mode=0444 \
    --mount=type=secret,id=fetch-proxies,target=/run/factory/proxies,mode=0444 \
    --mount=type=tmpfs,target=/tmp \
    sh /run/factory/tool.sh fetch
USER 65534:65534
RUN --network=none \
    --mount=type=bind,source=settle.sh,target=/run/factory/settle.sh \
    --mount=type=bind,source=tool.sh,target=/run/factory/tool.sh \
    --mount=type=tmpfs,target=/tmp \
    sh /run/factory/tool.sh compile

# hadolint ignore=DL3006
FROM ${BELOW} AS tool
COPY --link --from=made --chown=0:0 /opt/factory-tool/ /
