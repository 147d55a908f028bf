package plan

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// Planner keeps the plan of one node, by destination. What all destinations have in common (pools, the underlay, tunnels,
// the node's own blocks) is fixed when it is made; blocks of other nodes, pods and learned routes may change, and each
// change costs work for the destinations that it is about. It is for one goroutine.
type Planner struct {
	in        Input // without the lists that have a place of their own below
	pools     map[string]Pool
	own       []Block // this node's, oldest first, then lowest
	links     map[tunnel]*Link
	tunnelled []Pool // pools that send through tunnels
	peers     map[netip.Prefix]peer
	resolved  map[netip.Addr]NextHop
	conflicts map[string]bool // pools that touch the infrastructure
	fixed     Plan            // what no block, pod or learned route changes

	blocks  map[netip.Prefix]*Block // of other nodes; a large cluster has many, so each is in memory once
	nodes   map[string]*node        // those that have such blocks
	pods    map[netip.Prefix]string
	learned map[netip.Prefix][]netip.Addr
	lengths map[length]int     // of learned, how many there are
	members map[netip.Addr]int // addresses of nodes, with how many places say so
	// blocksOf counts the blocks of each pool, this node's included.
	blocksOf map[string]int

	endpoints   []Endpoint
	keep        map[string]bool
	held        map[netip.Prefix]bool // addresses of the endpoints in keep
	podProblems []Problem

	routes     map[netip.Prefix]*course
	latest     *course // the last that was planned
	counts     map[RouteCount]int32
	problems   map[netip.Prefix][]Problem
	refused    map[netip.Prefix]string
	neighbours map[Neighbour]int
	fdb        map[FDBEntry]int
	dirty      map[netip.Prefix]bool
	dirtyNodes map[string]bool
	pending    Changes
	filtered   bool // the sets of the filter have changed
	building   bool // nobody knows of a plan yet: changes are not noted
}

// node is another node with its blocks.
type node struct {
	name   string
	blocks []*Block // oldest first, then lowest
	// vteps are the IPv4 addresses of tunnels' ends, at most one for each tunnel: the first address of the first block of a pool that uses it.
	vteps []vtep
	mac   vtepMAC
	// neighbours and fdb are what is planned for the node.
	neighbours []Neighbour
	fdb        []FDBEntry
}

// vtep is another node's end of a tunnel.
type vtep struct {
	tunnel  tunnel
	address netip.Addr
}

func (n *node) vtep(t tunnel) (netip.Addr, bool) {
	for _, v := range n.vteps {
		if v.tunnel == t {
			return v.address, true
		}
	}
	return netip.Addr{}, false
}

// Make plans a node.
func Make(in Input) Plan { return New(in).Plan() }

// New plans a node.
func New(in Input) *Planner {
	if in.VXLAN.VNI == 0 {
		in.VXLAN.VNI = names.DefaultVXLANVNI
	}
	if in.VXLAN.Port == 0 {
		in.VXLAN.Port = names.DefaultVXLANPort
	}
	p := &Planner{
		pools: map[string]Pool{}, links: map[tunnel]*Link{}, peers: map[netip.Prefix]peer{}, resolved: map[netip.Addr]NextHop{},
		conflicts: map[string]bool{}, blocksOf: map[string]int{}, blocks: make(map[netip.Prefix]*Block, len(in.Blocks)), nodes: map[string]*node{},
		pods: map[netip.Prefix]string{}, learned: make(map[netip.Prefix][]netip.Addr, len(in.Learned)), lengths: map[length]int{}, members: map[netip.Addr]int{},
		keep: map[string]bool{}, held: map[netip.Prefix]bool{}, routes: make(map[netip.Prefix]*course, len(in.Blocks)+len(in.Learned)), counts: map[RouteCount]int32{},
		problems: map[netip.Prefix][]Problem{}, refused: map[netip.Prefix]string{}, neighbours: map[Neighbour]int{}, fdb: map[FDBEntry]int{},
		dirty: map[netip.Prefix]bool{}, dirtyNodes: map[string]bool{}, building: true, filtered: true,
	}
	blocks, endpoints, learned := in.Blocks, in.Endpoints, in.Learned
	p.in = in
	p.in.Blocks, p.in.Endpoints, p.in.Learned = nil, nil, nil
	p.addPools(in.Pools)
	p.addBlocks(blocks)
	p.makeTunnels()
	p.makePeers()
	p.checkPools()
	p.makeSysctls()
	p.makeMTUs()
	p.checkFilter()
	for _, a := range slices.Concat(in.NodeAddresses, []netip.Addr{in.V4.Address, in.V6.Address}) {
		p.addMember(a, 1)
	}
	p.SetEndpoints(endpoints)
	p.enterLearned(learned)
	p.planAll()
	return p
}

// planAll plans all destinations for the first time.
func (p *Planner) planAll() {
	for _, n := range p.nodes {
		p.findVTEPs(n)
		p.planNode(n.name)
	}
	for dst := range p.learned {
		if _, block := p.blocks[dst]; !block {
			p.enter(dst, p.decide(dst))
		}
	}
	if p.in.NoWayToGateway {
		p.dirty[gateway] = true
	}
	for _, b := range p.own {
		p.dirty[b.CIDR] = true
	}
	for dst := range p.peers {
		p.dirty[dst] = true
	}
	p.Flush()
	p.building = false
}

// Fits says whether the planner can take a change by itself: nothing of what is fixed differs. Blocks, pods, learned routes,
// addresses of nodes and the infrastructure are not compared.
func (p *Planner) Fits(in Input) bool {
	a := p.in
	return a.Node == in.Node && a.V4 == in.V4 && a.V6 == in.V6 && a.NoWayToGateway == in.NoWayToGateway && a.RPFilterAll == in.RPFilterAll &&
		a.AcceptDefault == in.AcceptDefault && a.Capabilities.Equal(in.Capabilities) && maps.Equal(a.RPFilter, in.RPFilter) &&
		slices.EqualFunc(a.Pools, in.Pools, Pool.Equal) && slices.Equal(a.Fabric, in.Fabric) && slices.Equal(a.LikePods, in.LikePods) &&
		slices.Equal(a.Tunnels, in.Tunnels) && slices.Equal(a.PeerRoutes, in.PeerRoutes)
}

func (p *Planner) addPools(pools []Pool) {
	for _, pool := range pools {
		if !pool.CIDR.IsValid() || pool.CIDR.Addr().Is4In6() {
			continue
		}
		pool.CIDR = pool.CIDR.Masked()
		if pool.Sending == "" {
			pool.Sending = pool.Encapsulation
		}
		p.pools[pool.Name] = pool
	}
	for _, pool := range p.pools {
		if e, known := encapsulations[pool.Sending]; !known || e.tunnel != nil {
			p.tunnelled = append(p.tunnelled, pool)
		}
	}
	slices.SortFunc(p.tunnelled, func(a, b Pool) int { return cmp.Or(ComparePrefixes(a.CIDR, b.CIDR), cmp.Compare(a.Name, b.Name)) })
}

// addBlocks sorts the blocks out. The API has one block of each CIDR; should there be two, this node's counts, else the older
// one.
func (p *Planner) addBlocks(blocks []*Block) {
	sorted := make([]*Block, 0, len(blocks))
	for _, b := range blocks {
		if b, ok := usable(b); ok {
			sorted = append(sorted, b)
		}
	}
	slices.SortFunc(sorted, compareBlocks)
	taken := make(map[netip.Prefix]bool, len(sorted))
	for _, mine := range []bool{true, false} {
		for _, b := range sorted {
			if mine == (b.Node == p.in.Node) && !taken[b.CIDR] {
				taken[b.CIDR] = true
				p.addBlock(b)
			}
		}
	}
}

func (p *Planner) addBlock(b *Block) {
	for _, a := range b.NodeAddresses {
		p.addMember(a, 1)
	}
	p.blocksOf[b.Pool]++
	if b.Node == p.in.Node {
		p.own = append(p.own, *b)
		return
	}
	p.blocks[b.CIDR] = b
	n := p.node(b.Node)
	n.blocks = append(n.blocks, b)
}

// usable returns the block itself, or one that begins where its range does.
func usable(b *Block) (*Block, bool) {
	if !b.CIDR.IsValid() || b.CIDR.Addr().Is4In6() {
		return b, false
	}
	if masked := b.CIDR.Masked(); masked != b.CIDR {
		other := *b
		other.CIDR = masked
		return &other, true
	}
	return b, true
}

func compareBlocks(a, b *Block) int {
	return cmp.Or(a.Created.Compare(b.Created), ComparePrefixes(a.CIDR, b.CIDR), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Lender, b.Lender),
		slices.CompareFunc(a.NodeAddresses, b.NodeAddresses, netip.Addr.Compare))
}

func (p *Planner) node(name string) *node {
	n := p.nodes[name]
	if n == nil {
		n = &node{name: name}
		p.nodes[name] = n
	}
	return n
}

// findVTEPs finds a node's ends of tunnels. Nodes need not agree on them: a static neighbour entry resolves them. For a node that has only
// ranges of other nodes' blocks, an address of one of these stands for its end, whether a pod has it or not: the kernel only looks for its neighbour entry.
func (p *Planner) findVTEPs(n *node) {
	n.vteps = nil
	for _, lent := range []bool{false, true} {
		p.findVTEPsIn(n, lent)
	}
}

func (p *Planner) findVTEPsIn(n *node, lent bool) {
	for _, b := range n.blocks {
		pool := p.pools[b.Pool]
		for t := range p.links {
			nothing := b.CIDR.IsSingleIP() && !lent
			if (b.Lender != "") != lent || nothing || !b.CIDR.Addr().Is4() || !uses(pool.Encapsulation, t) && !uses(pool.Sending, t) {
				continue
			}
			if _, known := n.vtep(t); !known {
				n.vteps = append(n.vteps, vtep{t, b.CIDR.Addr()})
			}
		}
	}
}

// addMember counts an address of a node in or out.
func (p *Planner) addMember(a netip.Addr, n int) {
	if a = a.Unmap().WithZone(""); !a.IsValid() {
		return
	}
	before := p.members[a]
	if p.members[a] = before + n; before+n == 0 {
		delete(p.members, a)
	}
	p.filtered = p.filtered || before == 0 || before+n == 0
}

// fixedProblem notes a problem that no block, pod or learned route changes.
func (p *Planner) fixedProblem(problem Problem) { p.fixed.Problems = append(p.fixed.Problems, problem) }

// underlay returns the node's place for the family of an address.
func (p *Planner) underlay(a netip.Addr) Underlay {
	if a.Is4() {
		return p.in.V4
	}
	return p.in.V6
}

func (p *Planner) hits(dst netip.Prefix) []infrastructure.Network {
	if p.in.Infrastructure == nil {
		return nil
	}
	return p.in.Infrastructure.Hits(dst)
}

func describe(hits []infrastructure.Network) string { return infrastructure.Describe(hits) }

// ComparePrefixes is the order of Plan.Routes.
func ComparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// inside says whether a equals b or is a part of it.
func inside(a, b netip.Prefix) bool {
	return b.IsValid() && a.Bits() >= b.Bits() && b.Contains(a.Addr())
}

func ofFamily(addresses []netip.Addr, like netip.Addr) netip.Addr {
	for _, a := range addresses {
		if a = a.Unmap(); a.IsValid() && a.Is4() == like.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
