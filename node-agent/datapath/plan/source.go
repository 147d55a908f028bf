package plan

// RouteSource says where the kernel routes of a node come from.
type RouteSource string

// The sources besides tunnels.
const (
	// RouteSourceEndpoint marks the routes to the node's own pods.
	RouteSourceEndpoint RouteSource = "Endpoint"
	// RouteSourceBlock marks the blackhole routes of the node's own blocks.
	RouteSourceBlock RouteSource = "Block"
	// RouteSourceDirect marks routes to nodes of the same subnet.
	RouteSourceDirect RouteSource = "Direct"
	// RouteSourceBGP marks routes learned by BGP.
	RouteSourceBGP RouteSource = "BGP"
)

// RouteCount is the number of routes from one source.
type RouteCount struct {
	// source is where the routes come from.
	Source RouteSource
	// protocol is the route protocol number that `ip route` shows for them.
	Protocol int32
	// count is how many there are, of both families.
	Count int32
}
