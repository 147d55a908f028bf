// Package traces makes path traces: PathTraces come in; it asks the agents of the nodes on the way to look (PathObservations), has
// the source's agent send, and writes what came of it into the PathTrace. Next and Tell are pure: which step comes next, and the story
// that the observations tell. It watches nothing that changes in a quiet cluster, and keeps no state but objects.
package traces
