#!/usr/bin/env bash
# krew.sh VERSION FOLDER: builds the plugin for all platforms into FOLDER, with the manifest for krew, kubectl's plugin manager.
# PLATFORMS chooses some of them; LDFLAGS are for the linker.
set -euo pipefail
version=$1 folder=$2
cd "$(dirname "$0")/.."
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
releases=https://github.com/causeway-net/causeway/releases/download
manifest=$folder/causeway.yaml

cat >"$manifest" <<EOF
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: causeway
spec:
  version: $version
  homepage: https://github.com/causeway-net/causeway
  shortDescription: Show and check Causeway, the network of the cluster's pods
  description: |
    Says in one screen whether the pods' network is well and what to do about each trouble; shows whose an address is, checks
    that records, blocks, pods and nodes agree, lists BGP sessions, draws the cluster, packs a support bundle, and translates
    the configuration of Calico and flannel.
  platforms:
EOF
for platform in ${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64}; do
  os=${platform%/*} arch=${platform#*/}
  archive=kubectl-causeway_${os}_$arch.tar.gz
  built=$(mktemp -d)
  CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -ldflags "${LDFLAGS:--s -w}" -o "$built/kubectl-causeway" ./kubectl-causeway
  tar -C "$built" --owner=0 --group=0 -czf "$folder/$archive" kubectl-causeway
  rm -r "$built"
  cat >>"$manifest" <<EOF
  - selector: {matchLabels: {os: $os, arch: $arch}}
    uri: $releases/$version/$archive
    sha256: $(sha256sum "$folder/$archive" | cut -d ' ' -f 1)
    bin: kubectl-causeway
EOF
done
echo "$manifest"
