package addresses

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// CheckKinds are what Check wants to see.
var CheckKinds = []objects.Kind{
	objects.IPPools, objects.IPBlocks, objects.WorkloadEndpoints, objects.BlockClaims, objects.Nodes, objects.NodeNetworks, objects.Pods,
	objects.SystemPods, objects.StickyAddresses,
}

// check is one look, with what is looked up again and again.
type check struct {
	c      *objects.Cluster
	blocks *index
	pools  map[string]netip.Prefix
	nodes  map[string]bool
	pods   map[string]*corev1.Pod
	found  []Disagreement
}

// Check accounts for every address of records, pods, blocks and claims.
func Check(c *objects.Cluster) Account {
	k := &check{c: c, blocks: newIndex(c), pools: map[string]netip.Prefix{}, nodes: map[string]bool{}, pods: map[string]*corev1.Pod{}}
	for i := range c.Pools.Items {
		if p, err := c.Pools.Items[i].Spec.Prefix(); err == nil {
			k.pools[c.Pools.Items[i].Name] = p
		}
	}
	for i := range c.Nodes.Items {
		k.nodes[c.Nodes.Items[i].Name] = true
	}
	for i := range c.Pods.Items {
		k.pods[c.Pods.Items[i].Namespace+"/"+c.Pods.Items[i].Name] = &c.Pods.Items[i]
	}
	all := holders(c)
	k.checkBlocks()
	k.checkHolders(all)
	k.checkRemembered(all)
	k.checkRecords()
	running := k.checkPods()
	k.checkClaims()
	Sort(k.found)
	return Account{Addresses: len(all), Records: len(c.Endpoints.Items), Pods: running, Blocks: len(c.Blocks.Items), Pools: len(c.Pools.Items),
		Disagreements: k.found, Unread: c.Unread}
}

func (k *check) add(d Disagreement) { k.found = append(k.found, d) }

// checkBlocks compares blocks with pools and with each other.
func (k *check) checkBlocks() {
	for i, b := range k.blocks.all {
		if k.c.Read(objects.IPPools) {
			pool, ok := k.pools[b.pool]
			switch {
			case !ok:
				k.add(Disagreement{BlockWithoutPool, b.CIDR, fmt.Sprintf("Block %s of node %s belongs to pool %s, which does not exist.", b.CIDR, b.Node, b.pool),
					"Make the pool again with the same cidr, delete the pods that have addresses in the block, then delete the pool.", nil})
			case !pool.Contains(b.prefix.Addr()) || b.prefix.Bits() < pool.Bits():
				k.add(Disagreement{BlockOutside, b.CIDR, fmt.Sprintf("Block %s lies outside of its pool %s (%s).", b.CIDR, b.pool, pool),
					"The pool was deleted and made again with another cidr. Delete the pods that have addresses in the block.", nil})
			}
		}
		if k.c.Read(objects.Nodes) && !k.nodes[b.Node] {
			k.add(Disagreement{NodeGone, b.CIDR, fmt.Sprintf("Block %s belongs to node %s, which does not exist.", b.CIDR, b.Node),
				"The controller takes it back when the agent's Lease has run out. If this lasts, see whether the controller works: kubectl causeway status.", nil})
		}
		for _, other := range k.blocks.all[i+1:] {
			if !b.prefix.Overlaps(other.prefix) {
				break
			}
			k.add(Disagreement{BlocksOverlap, b.CIDR, fmt.Sprintf("Block %s of node %s holds block %s of node %s.", b.CIDR, b.Node, other.CIDR, other.Node),
				"Addresses may be given twice. Delete the pods that have addresses in the smaller block, then the newer of the two pools.", nil})
		}
	}
}

// checkHolders compares the addresses of records with blocks and with each other.
func (k *check) checkHolders(all []Holder) {
	for i, h := range all {
		if i > 0 && all[i-1].Address == h.Address {
			k.add(Disagreement{AddressTwice, h.Address.String(), fmt.Sprintf("Pods %s on node %s and %s on node %s both have %s.", all[i-1].Pod, all[i-1].Node, h.Pod, h.Node, h.Address),
				"Delete one of the two pods; it gets another address when it is made again.", nil})
		}
		if !k.c.Read(objects.IPBlocks) {
			continue
		}
		block := k.blocks.find(h.Address)
		switch {
		case block == nil:
			k.add(Disagreement{NoBlock, h.Address.String(), fmt.Sprintf("Pod %s on node %s has %s, which is in no block: other nodes have no route to it.", h.Pod, h.Node, h.Address),
				"Delete the pod; it gets an address of a block when it is made again.", nil})
		case block.NodeOf(h.Address) != h.Node:
			k.add(Disagreement{ForeignBlock, h.Address.String(), fmt.Sprintf("Pod %s on node %s has %s, which is in block %s of node %s: packets to it go there.", h.Pod, h.Node, h.Address, block.CIDR, block.NodeOf(h.Address)),
				"Delete the pod; it gets an address of its node's block when it is made again.", nil})
		}
	}
}

// checkRecords compares records with pods, nodes and pools.
func (k *check) checkRecords() {
	for i := range k.c.Endpoints.Items {
		e := &k.c.Endpoints.Items[i]
		subject := e.Namespace + "/" + e.Name
		k.checkPool(e)
		if k.c.Read(objects.Nodes) && !k.nodes[e.Spec.Node] {
			k.add(Disagreement{NodeGone, subject, fmt.Sprintf("The record %s is of node %s, which does not exist.", subject, e.Spec.Node),
				"The controller deletes it when the agent's Lease has run out. If this lasts, see whether the controller works: kubectl causeway status.", nil})
			continue
		}
		if !k.c.Read(objects.Pods) {
			continue
		}
		stale := &Record{Namespace: e.Namespace, Name: e.Name, UID: e.UID, Node: e.Spec.Node, Pod: e.Spec.Pod, Addresses: e.Spec.Addresses}
		const advice = "Free the address with kubectl causeway ipam free. If the agent still has a link of it, it writes the record again."
		pod := k.pods[e.Namespace+"/"+e.Spec.Pod]
		switch {
		case pod == nil || e.Spec.PodUID != "" && string(pod.UID) != e.Spec.PodUID:
			k.add(Disagreement{PodGone, subject, fmt.Sprintf("The record %s keeps %s for pod %s/%s, which is gone.", subject, e.Spec.Networks, e.Namespace, e.Spec.Pod), advice, stale})
		case ended(pod):
			k.add(Disagreement{PodEnded, subject, fmt.Sprintf("The record %s keeps %s for pod %s/%s, which has ended (%s).", subject, e.Spec.Networks, e.Namespace, e.Spec.Pod, pod.Status.Phase),
				"The runtime should have torn the pod's network down. " + advice, stale})
		case pod.Spec.NodeName != e.Spec.Node:
			k.add(Disagreement{PodElsewhere, subject, fmt.Sprintf("The record %s says that pod %s/%s is on node %s, but it is on %s.", subject, e.Namespace, e.Spec.Pod, e.Spec.Node, pod.Spec.NodeName), advice, stale})
		}
	}
}

func (k *check) checkPool(e *v1alpha1.WorkloadEndpoint) {
	for i, text := range e.Spec.Addresses {
		p, err := netip.ParsePrefix(text)
		if err != nil || i >= len(e.Spec.Pools) {
			continue
		}
		if block := k.blocks.find(p.Addr()); block != nil && block.pool != e.Spec.Pools[i] {
			k.add(Disagreement{WrongPool, p.Addr().String(), fmt.Sprintf("The record of pod %s/%s says that %s is of pool %s, but its block %s is of pool %s.",
				e.Namespace, e.Spec.Pod, p.Addr(), e.Spec.Pools[i], block.CIDR, block.pool), "Delete the pod; its new record will be right.", nil})
		}
	}
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// checkPods compares the addresses that kubelets report with records. Only pods with an address in a pool count.
func (k *check) checkPods() (running int) {
	recorded := map[string][]netip.Addr{}
	for _, h := range holders(k.c) {
		recorded[h.Pod] = append(recorded[h.Pod], h.Address)
	}
	for i := range k.c.Pods.Items {
		p := &k.c.Pods.Items[i]
		ours := k.inPools(p)
		if p.Spec.HostNetwork || ended(p) || len(ours) == 0 {
			continue
		}
		running++
		key := p.Namespace + "/" + p.Name
		if !k.c.Read(objects.WorkloadEndpoints) {
			continue
		}
		has := recorded[key]
		if len(has) == 0 {
			k.add(Disagreement{NoRecord, key, fmt.Sprintf("Pod %s on node %s runs with %s, and there is no record of it.", key, p.Spec.NodeName, list(ours)),
				fmt.Sprintf("The agent writes the record as soon as the API server takes it. See why it does not: kubectl get nodenetwork %s -o wide.", p.Spec.NodeName), nil})
			continue
		}
		for _, a := range ours {
			if !slices.Contains(has, a) {
				k.add(Disagreement{OtherAddress, key, fmt.Sprintf("The kubelet of node %s says that pod %s has %s, but the record says %s.", p.Spec.NodeName, key, a, list(has)),
					"Delete the pod; it gets a new address and a new record when it is made again.", nil})
			}
		}
	}
	return running
}

func list(all []netip.Addr) string {
	var texts []string
	for _, a := range all {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

// inPools are a pod's addresses that lie in a pool.
func (k *check) inPools(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range p.Status.PodIPs {
		a, err := netip.ParseAddr(ip.IP)
		if err != nil {
			continue
		}
		for _, pool := range k.pools {
			if pool.Contains(a) {
				out = append(out, a)
				break
			}
		}
	}
	return out
}

// checkClaims compares the blocks that agents know with the IPBlocks.
func (k *check) checkClaims() {
	if !k.c.Read(objects.BlockClaims, objects.IPBlocks) {
		return
	}
	for i := range k.c.Claims.Items {
		claim := &k.c.Claims.Items[i]
		known := map[netip.Prefix]bool{}
		for _, p := range claim.Spec.Pools {
			listed := slices.Clone(p.Held)
			for _, r := range p.Released {
				listed = append(listed, r.CIDR)
			}
			for _, text := range listed {
				if prefix, err := netip.ParsePrefix(text); err == nil {
					known[prefix] = true
				}
			}
			for _, text := range p.Held {
				prefix, err := netip.ParsePrefix(text)
				if err != nil {
					continue
				}
				owner := k.blocks.owner(prefix)
				switch owner {
				case claim.Name:
				case "":
					k.add(Disagreement{BlockLost, text, fmt.Sprintf("Node %s uses block %s, and there is no such IPBlock: other nodes have no route to it.", claim.Name, text),
						"The controller makes it again. If this lasts, see whether the controller works: kubectl causeway status.", nil})
				default:
					k.add(Disagreement{BlockLost, text, fmt.Sprintf("Node %s uses block %s, which belongs to node %s: addresses may be given twice.", claim.Name, text, owner),
						fmt.Sprintf("Restart the agent of node %s, and delete the pods there that have addresses in the block.", claim.Name), nil})
				}
			}
		}
		for _, b := range k.blocks.all {
			if b.Node == claim.Name && !b.Leaving && !known[b.prefix] {
				k.add(Disagreement{BlockUnknown, b.CIDR, fmt.Sprintf("Block %s belongs to node %s, whose agent does not use it.", b.CIDR, b.Node),
					fmt.Sprintf("A new block is taken up within seconds. If this lasts, look at the agent's log on node %s.", b.Node), nil})
			}
		}
	}
}
