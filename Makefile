SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GOLANGCI_LINT_VERSION := v2.15.0
KUBERNETES_VERSION := v1.37.0
KERNEL ?= auto
NODES ?= 3
RUNTIME ?= containerd
# Tests of several packages start a control plane each; more than two at once only wait for each other.
TEST_PARALLEL ?= 2
# LONG_TESTS take minutes each. They start first, the longest before the others, so that none of them runs alone at the end.
LONG_TESTS := $(addprefix ./test/,e2e/kubelet e2e/cluster e2e/modes e2e/bgp e2e/tools simulation)
# The packages whose tests `make test` runs.
TESTS ?= $(LONG_TESTS) ./...

BINARIES := causeway kubectl-causeway causeway-agent causeway-speaker causeway-controller lab lab-node
CONTROL_PLANE := bin/etcd bin/kube-apiserver bin/kubectl
# VERSION is what --version says and the image is tagged with.
VERSION ?= $(shell sed -n 's/^appVersion: //p' charts/causeway/Chart.yaml)
COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
# NEXT is the version that tests upgrade to: the same programs by another name.
NEXT := v0.2.0-next
OUR_FLAGS := -s -w -X github.com/causeway-net/causeway/internal/version.tag=$(VERSION) \
	-X github.com/causeway-net/causeway/internal/version.commit=$(COMMIT)
# CLUSTER_PACKAGES are what `make cluster` needs besides.
CLUSTER_PACKAGES := runc curl netcat-openbsd
# CRIO_PACKAGES are what nodes with CRI-O need besides, and its program in C.
CRIO_PACKAGES := conmon skopeo gcc libc6-dev
# CONFORMANCE_PACKAGES are what Kubernetes' tests run inside of their pods besides.
CONFORMANCE_PACKAGES := bind9-dnsutils libc-bin
PACKAGES := iproute2 iputils-ping nftables tcpdump iperf3 jq kmod prometheus util-linux containernetworking-plugins bird2 frr \
	qemu-system-x86 busybox-static chromium

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: lab
lab: deps build kernel ## Start a cluster on this machine (NODES=3, KERNEL=host|vm|auto)
	bin/lab up --nodes $(NODES) --kernel $(KERNEL)

.PHONY: lab-down
lab-down: ## Stop the cluster; nothing of it is left
	bin/lab down

.PHONY: cluster
cluster: deps cluster-deps build cluster-programs image ## Start a real cluster on this machine: kubelet, a container runtime, kube-proxy (NODES=3, RUNTIME=containerd|crio; ARGS="--subnets=2 --set NAME=VALUE")
	@[ "$(RUNTIME)" != crio ] || $(MAKE) --no-print-directory crio-programs
	bin/cluster up --nodes $(NODES) --runtime $(RUNTIME) $(ARGS)

.PHONY: cluster-down
cluster-down: ## Stop the real cluster; nothing of it is left
	bin/cluster down

.PHONY: conformance
conformance: deps cluster-deps conformance-deps build cluster-programs conformance-programs ## Run Kubernetes' own tests of networks in a cluster of their own; junit in bin/conformance (ARGS="--focus REGEXP")
	@$(MAKE) --no-print-directory image ARCHITECTURES="$$(go env GOARCH)"
	bin/cluster conformance --nodes $(NODES) $(ARGS)

.PHONY: test
test: deps cluster-deps build cluster-programs crio-programs gitops-programs kernel ## Run all tests, end to end too (KERNEL=host|vm|auto, ARGS="-run ...")
	@$(MAKE) --no-print-directory image ARCHITECTURES="$$(go env GOARCH)"
	@$(MAKE) --no-print-directory image ARCHITECTURES="$$(go env GOARCH)" VERSION=$(NEXT) ARCHIVE=bin/causeway-image-next.tar IMAGE_PROGRAMS=bin/image/next
	cd image && go test ./...
	CAUSEWAY_LAB_KERNEL=$(KERNEL) go test -p $(TEST_PARALLEL) -timeout 30m $(ARGS) $(TESTS)

.PHONY: pictures
pictures: deps build ## Take the screenshots of docs/images anew
	go test ./test/e2e/tools -run 'TestUI$$' -count=1 -args -pictures

.PHONY: simulate
simulate: ## Simulate address management: a million operations, or ARGS="-operations 1e9" for a night, ARGS="-seed N" to see one world
	go test ./test/simulation -run TestNoAddressIsGivenTwice -count=1 -timeout 0 -v -args -operations 1e6 -processor 0 $(ARGS)
	go test ./test/exploration -run 'TestEveryState|TestAnyController' -count=1 -timeout 0 -v -args -within 10m -whole

.PHONY: bench
bench: deps build ## Measure beside the reference plugins and hand-made routes (ARGS="-only add,idle")
	go run ./test/bench $(ARGS)

.PHONY: bench-kubelet
bench-kubelet: deps cluster-deps build cluster-programs ## Measure how fast pods start under a real kubelet, by turns with the reference plugins (ARGS="-pods 30 -rounds 3")
	@$(MAKE) --no-print-directory image ARCHITECTURES="$$(go env GOARCH)"
	go run ./test/bench/kubelet $(ARGS)

.PHONY: bench-scale
bench-scale: deps build ## Measure what hundreds of nodes cost the API server and the controller (ARGS="-help" lists sizes)
	go run ./test/bench/scale $(ARGS)

.PHONY: build
build: $(CONTROL_PLANE) bin/helm ## Build everything into bin/ (the control plane takes minutes the first time)
	@mkdir -p bin
	@echo "building our binaries"
	CGO_ENABLED=0 go build -trimpath -ldflags "$(OUR_FLAGS)" -o bin/causeway ./cni-plugin
	CGO_ENABLED=0 go build -trimpath -ldflags "$(OUR_FLAGS)" -o bin/kubectl-causeway ./kubectl-causeway
	CGO_ENABLED=0 go build -trimpath -ldflags "$(OUR_FLAGS)" -o bin/ ./node-agent/cmd/causeway-agent \
		./node-agent/cmd/causeway-speaker ./controllers/cmd/causeway-controller ./test/lab/cmd/lab ./test/lab/cmd/lab-node

VERSION_FLAGS := -X k8s.io/component-base/version.gitVersion=$(KUBERNETES_VERSION) \
	-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37

bin/etcd: test/controlplane/go.mod
	@echo "building etcd (once; then it is kept in bin/)"
	cd test/controlplane && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../$@ go.etcd.io/etcd/server/v3
	@touch $@

bin/kube-apiserver bin/kubectl: bin/%: test/controlplane/go.mod
	@echo "building $* (once; then it is kept in bin/; kube-apiserver takes about 3 minutes on 2 cores)"
	cd test/controlplane && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $(VERSION_FLAGS)" -o ../../$@ k8s.io/kubernetes/cmd/$*
	@touch $@

# What a real cluster runs besides the control plane of the lab.
KUBERNETES_PROGRAMS := bin/kube-scheduler bin/kube-controller-manager bin/kubelet bin/kube-proxy
CONTAINERD_PROGRAMS := bin/containerd bin/containerd-shim-runc-v2 bin/ctr
CLUSTER_IMAGES := bin/images/pause.tar bin/images/agnhost.tar bin/images/coredns.tar

.PHONY: cluster-programs
cluster-programs: build $(KUBERNETES_PROGRAMS) $(CONTAINERD_PROGRAMS) bin/portmap $(CLUSTER_IMAGES) ## Build what a real cluster runs into bin/ (minutes the first time)
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/ ./test/cluster/cmd/cluster

$(KUBERNETES_PROGRAMS): bin/%: test/controlplane/go.mod
	@echo "building $* (once; then it is kept in bin/)"
	cd test/controlplane && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $(VERSION_FLAGS)" -o ../../$@ k8s.io/kubernetes/cmd/$*
	@touch $@

$(CONTAINERD_PROGRAMS): bin/%: test/cluster/containerd/go.mod
	@echo "building $* (once; then it is kept in bin/)"
	cd test/cluster/containerd && CGO_ENABLED=0 go build -trimpath -tags "no_btrfs no_devmapper no_zfs no_aufs" -ldflags "-s -w" \
	  -o ../../../$@ github.com/containerd/containerd/v2/cmd/$*
	@touch $@

# The other container runtime: a node of the real cluster has either.
.PHONY: crio-programs
crio-programs: crio-deps bin/crio bin/pinns

bin/crio: test/cluster/crio/go.mod
	@echo "building crio (once; then it is kept in bin/)"
	cd test/cluster/crio && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../../$@ \
	  -tags "containers_image_openpgp containers_image_ostree_stub exclude_graphdriver_btrfs exclude_graphdriver_devicemapper btrfs_noversion" github.com/cri-o/cri-o/cmd/crio
	@touch $@

bin/pinns: test/cluster/crio/go.mod | crio-deps
	gcc -std=c99 -Os -static -s -o $@ $$(cd test/cluster/crio && go mod download github.com/cri-o/cri-o && go list -m -f '{{.Dir}}' github.com/cri-o/cri-o)/pinns/src/*.c

bin/portmap: test/cluster/containerd/go.mod
	cd test/cluster/containerd && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../../$@ github.com/containernetworking/plugins/plugins/meta/portmap
	@touch $@

bin/images/pack: test/cluster/images/go.mod test/cluster/images/main.go
	cd test/cluster/images && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../../$@ .

bin/images/pause.tar: bin/images/pack test/cluster/cmd/pause/main.go
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/images/pause ./test/cluster/cmd/pause
	bin/images/pack -out $@ -name registry.k8s.io/pause:3.10.2 -entrypoint /pause bin/images/pause=/pause

AGNHOST := registry.k8s.io/e2e-test-images/agnhost:2.66.1
AGNHOST_PROGRAMS := \
  -busybox sh,cat,ls,sleep,ip,ping,wget,hostname,date,echo,grep,seq,true,false,test,timeout,head,tail,env,nslookup,mkdir,rm,touch,tr,wc,awk,sed \
  bin/images/agnhost=/agnhost /bin/busybox=/bin/busybox /usr/bin/curl=/usr/bin/curl /bin/nc.openbsd=/usr/bin/nc

bin/images/agnhost.tar: bin/images/pack test/controlplane/go.mod
	@echo "building agnhost (once; then it is kept in bin/)"
	cd test/controlplane && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $(VERSION_FLAGS)" -o ../../bin/images/agnhost k8s.io/kubernetes/test/images/agnhost
	bin/images/pack -out $@ -name $(AGNHOST) -entrypoint /agnhost -arguments pause $(AGNHOST_PROGRAMS)

bin/images/coredns.tar: bin/images/pack test/cluster/coredns/go.mod
	@echo "building CoreDNS (once; then it is kept in bin/)"
	cd test/cluster/coredns && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../../bin/images/coredns github.com/coredns/coredns
	bin/images/pack -out $@ -name registry.k8s.io/coredns/coredns:local -entrypoint /coredns bin/images/coredns=/coredns

# What Kubernetes' tests of networks need besides a cluster. The tools are agnhost's, with dig, getent, and a shell that is not
# busybox's: that one runs its own nc, which has no UDP, before the one in the PATH. The certificate is what agnhost serves TLS with.
.PHONY: conformance-programs
conformance-programs: bin/e2e.test bin/ginkgo bin/images/conformance-tools.tar bin/images/conformance-nginx.tar

bin/e2e.test: test/controlplane/go.mod test/controlplane/conformance/conformance_test.go
	@echo "building Kubernetes' tests (once; then they are kept in bin/)"
	cd test/controlplane && CGO_ENABLED=0 go test -c -trimpath -ldflags "-s -w $(VERSION_FLAGS)" -o ../../$@ ./conformance
	@touch $@

bin/ginkgo: test/controlplane/go.mod
	cd test/controlplane && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../$@ github.com/onsi/ginkgo/v2/ginkgo
	@touch $@

bin/images/conformance-tools.tar: bin/images/agnhost.tar
	porter="$$(cd test/controlplane && go list -m -f '{{.Dir}}' k8s.io/kubernetes)/test/images/agnhost/porter"; \
	bin/images/pack -out $@ -name $(AGNHOST) -entrypoint /agnhost -arguments pause $(AGNHOST_PROGRAMS) \
	  $$porter/localhost.crt=/localhost.crt $$porter/localhost.key=/localhost.key \
	  /bin/dash=/bin/sh /usr/bin/dig=/usr/bin/dig /usr/bin/getent=/usr/bin/getent /etc/nsswitch.conf=/etc/nsswitch.conf

bin/images/conformance-nginx.tar: bin/images/pause.tar
	bin/images/pack -out $@ -name registry.k8s.io/e2e-test-images/nginx:1.27.0-2 -entrypoint /pause bin/images/pause=/pause

bin/helm: test/helm/go.mod
	@echo "building helm (once; then it is kept in bin/)"
	cd test/helm && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../$@ helm.sh/helm/v4/cmd/helm
	@touch $@

# What the tests of GitOps run: Flux's kustomize-controller, Argo CD's health checks, and the definitions of both projects' objects.
# source-controller is left out: it would take longer to build than all the rest of these.
.PHONY: gitops-programs
gitops-programs: bin/kustomize-controller bin/argocd-health bin/gitops-crds.yaml

bin/kustomize-controller: test/flux/go.mod
	@echo "building kustomize-controller (once; then it is kept in bin/)"
	cd test/flux && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../$@ github.com/fluxcd/kustomize-controller
	@touch $@

bin/argocd-health: test/argocd/go.mod test/argocd/main.go
	@echo "building Argo CD's health checks (once; then they are kept in bin/)"
	cd test/argocd && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../$@ .
	@touch $@

bin/gitops-crds.yaml: test/flux/go.mod test/argocd/go.mod
	@kustomize="$$(cd test/flux && go list -m -f '{{.Dir}}' github.com/fluxcd/kustomize-controller)"; \
	version="$$(cd test/flux && go list -m -f '{{.Version}}' github.com/fluxcd/source-controller/api)"; \
	source="$$(go mod download -json github.com/fluxcd/source-controller@$$version | jq -r .Dir)"; \
	argocd="$$(cd test/argocd && go list -m -f '{{.Dir}}' github.com/argoproj/argo-cd/v3)"; \
	for f in $$kustomize/config/crd/bases/*.yaml $$source/config/crd/bases/*.yaml $$argocd/manifests/crds/application-crd.yaml; do \
	  echo ---; cat $$f; \
	done >$@.new
	@mv $@.new $@

.PHONY: cluster-deps
cluster-deps:
	@$(MAKE) --no-print-directory deps PACKAGES="$(CLUSTER_PACKAGES)"

.PHONY: crio-deps
crio-deps:
	@$(MAKE) --no-print-directory deps PACKAGES="$(CRIO_PACKAGES)"

.PHONY: conformance-deps
conformance-deps:
	@$(MAKE) --no-print-directory deps PACKAGES="$(CONFORMANCE_PACKAGES)"

.PHONY: deps
deps: ## Install the Debian packages that the lab and the tests need (as root; nothing if they are there)
	@missing=""; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "These packages are missing; install them as root: apt-get install$$missing" >&2; exit 1; fi; \
	echo "installing$$missing"; apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null

.PHONY: kernel
kernel: build ## Get the kernel of the nodes' virtual machine, if this machine's lacks ipip or KERNEL=vm
	@if [ "$(KERNEL)" = host ]; then exit 0; fi; \
	if [ "$(KERNEL)" = auto ] && unshare -rn ip link add probe0 type ipip local 192.0.2.1 remote 192.0.2.2 2>/dev/null; then exit 0; fi; \
	bin/lab kernel || { [ "$$(id -u)" = 0 ] && apt-get update -qq && bin/lab kernel; }

.PHONY: generate
generate: ## Generate deepcopy functions, CRDs, the controller's roles and the API reference
	go tool controller-gen object paths=./api/...
	go tool controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	go tool controller-gen rbac:roleName=causeway-controller paths=./controllers/... output:rbac:dir=config/rbac/controller
	go run ./internal/reference config/crd/bases docs/api-reference.md

IMAGE ?= causeway
ARCHITECTURES ?= amd64 arm64
ARCHIVE := bin/causeway-image.tar
IMAGE_PROGRAMS := bin/image
.PHONY: image
image: ## Build the container image into bin/causeway-image.tar, an OCI archive for amd64 and arm64, without Docker (PUSH=registry.example/net/causeway sends it there)
	@for arch in $(ARCHITECTURES); do \
	  mkdir -p $(IMAGE_PROGRAMS)/$$arch; \
	  echo "building our binaries for $$arch"; \
	  GOOS=linux GOARCH=$$arch CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$(OUR_FLAGS)" -o $(IMAGE_PROGRAMS)/$$arch/causeway ./cni-plugin; \
	  GOOS=linux GOARCH=$$arch CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$(OUR_FLAGS)" -o $(IMAGE_PROGRAMS)/$$arch/ \
	    ./node-agent/cmd/causeway-agent ./node-agent/cmd/causeway-speaker ./controllers/cmd/causeway-controller; \
	done
	@cd image && go run . --binaries ../$(IMAGE_PROGRAMS) --packages ../bin/image/packages --out ../$(ARCHIVE) \
	  --name $(or $(PUSH),$(IMAGE)) $(if $(PUSH),--push) --version $(VERSION) --commit $(COMMIT) --created "$$(git log -1 --format=%ct 2>/dev/null || echo 0)" \
	  --architectures "$$(echo $(ARCHITECTURES) | tr ' ' ,)"

.PHONY: manifests
manifests: bin/helm ## Write the manifests of config/ that the chart renders with its default values
	@render() { bin/helm template causeway charts/causeway --show-only $$2 2>/dev/null >$$1; }; \
	render config/agent/daemonset.yaml templates/agent/daemonset.yaml; \
	render config/manager/deployment.yaml templates/controller/deployment.yaml; \
	render config/default/namespace.yaml templates/cluster/namespaces.yaml; \
	render config/default/priority.yaml templates/cluster/priority.yaml; \
	render config/uninstall/uninstall.yaml templates/hooks/setup.yaml

.PHONY: lint
lint: bin/golangci-lint-$(GOLANGCI_LINT_VERSION) ## Check style and common mistakes, formatting, and that generated files and go.mod are current
	@bad="$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go'))"; \
	if [ -n "$$bad" ]; then echo "Format these files with gofmt -w: $$bad" >&2; exit 1; fi
	@for module in . test/controlplane test/helm test/flux test/argocd test/cluster/containerd test/cluster/crio test/cluster/coredns test/cluster/images image; do \
	  (cd $$module && go mod tidy -diff) || { echo "$$module/go.mod or go.sum is not tidy; run go mod tidy in $$module and commit it." >&2; exit 1; }; \
	done
	$< run ./...
	@$(MAKE) --no-print-directory check-generated

.PHONY: check-generated
check-generated: # What make generate makes must be what is there.
	@before="$$(cat api/v1alpha1/zz_generated* config/crd/bases/* config/rbac/controller/* docs/api-reference.md | sha256sum)"; \
	$(MAKE) --no-print-directory generate; \
	after="$$(cat api/v1alpha1/zz_generated* config/crd/bases/* config/rbac/controller/* docs/api-reference.md | sha256sum)"; \
	if [ "$$before" != "$$after" ]; then echo "Generated files were not current; commit what make generate has changed." >&2; exit 1; fi

bin/golangci-lint-$(GOLANGCI_LINT_VERSION):
	@echo "building golangci-lint $(GOLANGCI_LINT_VERSION) (once; then it is kept in bin/)"
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@mv bin/golangci-lint $@

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin .lab .cluster
