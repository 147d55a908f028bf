package kubelet_test

import "github.com/causeway-net/causeway/test/cluster"

// workloads: pods that no step touches, a server behind a Service of each kind, and pods that come and go.
const workloads = `
apiVersion: v1
kind: Pod
metadata: {name: still-1}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 1
  containers: [{name: a, image: ` + cluster.AgnhostImage + `, args: [pause]}]
---
apiVersion: v1
kind: Pod
metadata: {name: still-2}
spec:
  nodeName: node2
  terminationGracePeriodSeconds: 1
  containers: [{name: a, image: ` + cluster.AgnhostImage + `, args: [pause]}]
---
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeName: node2
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: ` + cluster.AgnhostImage + `
    args: [netexec, --http-port=8080]
    ports: [{containerPort: 8080, hostPort: 18080}]
    readinessProbe: {httpGet: {path: /hostname, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {app: server}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: crowd}
spec:
  replicas: 0
  selector: {matchLabels: {app: crowd}}
  template:
    metadata: {labels: {app: crowd}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: a, image: ` + cluster.AgnhostImage + `, args: [pause]}]
`

const secondPool = `
apiVersion: causeway.dev/v1alpha1
kind: IPPool
metadata: {name: second}
spec: {cidr: 10.212.0.0/24, blockSize: 26, encapsulation: VXLAN, assignmentMode: Manual}
---
apiVersion: v1
kind: Namespace
metadata: {name: second, annotations: {causeway.dev/ipv4-pools: second}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: second}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: a, image: ` + cluster.AgnhostImage + `, args: [pause]}]
`

const mesh = `
apiVersion: causeway.dev/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  asNumber: 64512
  nodeToNodeMesh: {enabled: true}
`
