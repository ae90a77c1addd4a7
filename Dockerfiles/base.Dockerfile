# The stand-in for the official `rust:<version>-slim-<suite>` where no image can be pulled.
# Build context: a directory with `root.tar`, a Debian system. Named contexts: `certificates`, a directory
# with `ca-certificates.crt` or with nothing, and for TOOLCHAIN=local a toolchain's sysroot, `toolchain`.

# `local`, or `debian` for the compiler that is in root.tar.
ARG TOOLCHAIN=local

FROM scratch AS debian
ADD root.tar /
ENV CARGO_HOME=/usr/local/cargo \
    RUSTUP_HOME=/usr/local/rustup \
    PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN --network=none install -d -m 0777 "$CARGO_HOME" "$CARGO_HOME/bin" "$RUSTUP_HOME"

# A toolchain of the machine that builds, where rustup would put it, without its 800 MB of documentation.
FROM debian AS local
# hadolint ignore=DL3022
COPY --from=toolchain bin /usr/local/rustup/toolchains/local/bin
# hadolint ignore=DL3022
COPY --from=toolchain lib /usr/local/rustup/toolchains/local/lib
RUN --network=none ln -s /usr/local/rustup/toolchains/local/bin/* /usr/local/cargo/bin/

FROM ${TOOLCHAIN} AS base
# hadolint ignore=DL3022
COPY --from=certificates . /etc/ssl/certs/
CMD ["bash"]
