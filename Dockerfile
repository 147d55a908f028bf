# The image that `make image` makes without Docker: our binaries, and Debian's nft with the libraries that it needs. No shell.
FROM golang:1.26-bookworm AS build
ARG VERSION=devel COMMIT=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY controllers controllers
COPY node-agent node-agent
COPY cni-plugin cni-plugin
COPY internal internal
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -o /out/ \
      -ldflags="-s -w -X github.com/causeway-net/causeway/internal/version.tag=$VERSION -X github.com/causeway-net/causeway/internal/version.commit=$COMMIT" \
      ./controllers/cmd/causeway-controller ./node-agent/cmd/causeway-agent ./node-agent/cmd/causeway-speaker \
 && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o /out/causeway \
      -ldflags="-s -w -X github.com/causeway-net/causeway/internal/version.tag=$VERSION -X github.com/causeway-net/causeway/internal/version.commit=$COMMIT" ./cni-plugin

FROM debian:bookworm-slim AS nft
RUN apt-get update && apt-get install -y --no-install-recommends nftables \
 && mkdir -p /root-of-image/tmp /root-of-image/run/causeway /root-of-image/etc \
 && printf 'root:x:0:0:root:/:/sbin/nologin\ncauseway:x:65532:65532:causeway:/:/sbin/nologin\n' > /root-of-image/etc/passwd \
 && printf 'root:x:0:\ncauseway:x:65532:\n' > /root-of-image/etc/group \
 && { echo /usr/sbin/nft; ldd /usr/sbin/nft | grep -o '/[^ ]*'; } | xargs -I{} cp --parents -L {} /root-of-image

FROM scratch
COPY --from=nft /root-of-image /
COPY --from=build /out/ /usr/local/bin/
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /
ENTRYPOINT ["/usr/local/bin/causeway-controller"]
