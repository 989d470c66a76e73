# syntax=docker/dockerfile:1
# A static binary on nothing else: no shell, no user, no writable file.
ARG RUST_IMAGE=rust:1.95-slim-bookworm

FROM ${RUST_IMAGE} AS build
# For the allocator. Any version does, and a pinned one is gone with the next point release.
# hadolint ignore=DL3008
RUN apt-get update -q && apt-get install -q -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# glibc, linked statically: the upstream's name is looked up by DNS and /etc/hosts, which needs no module at run time.
ENV RUSTFLAGS="-C target-feature=+crt-static"
# What was fetched and compiled stays with the builder, so that a change of the source compiles the source alone.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    # The allocator must be built for the largest pages that a kernel may have: 64 KiB on arm64, whatever the builder's.
    if [ "$(uname -m)" = aarch64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi \
    && cargo build --locked --release --target "$(uname -m)-unknown-linux-gnu" \
    && mkdir -p /out/etc/ssl/certs /out/licenses \
    && cp target/*/release/ssecar /out/ssecar \
    && cp LICENSE-* /out/licenses/ \
    && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/

FROM scratch
ARG VERSION=0.1.0
# Where the source is, and which commit of it: --build-arg SOURCE=… --build-arg REVISION="$(git rev-parse HEAD)".
ARG SOURCE=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ssecar" \
      org.opencontainers.image.description="A sidecar reverse proxy that makes any service's Server-Sent Events robust" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /out/ /
USER 65532:65532
EXPOSE 8080 9180
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/ssecar", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/ssecar"]
