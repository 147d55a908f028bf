# One image for controller, agent and CNI plugin. The agent needs nft, the kernel does the rest.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY controllers controllers
COPY node-agent node-agent
COPY cni-plugin cni-plugin
COPY internal internal
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/ ./controllers/cmd/causeway-controller ./node-agent/cmd/causeway-agent ./node-agent/cmd/causeway-speaker \
 && CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/causeway ./cni-plugin

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends nftables kmod && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/causeway-controller /out/causeway-agent /out/causeway-speaker /usr/local/bin/
COPY --from=build /out/causeway /opt/causeway/causeway
ENTRYPOINT ["/usr/local/bin/causeway-controller"]
