package blockplan

import "testing"

// BenchmarkARoundOfNeighbours is one round for a pool of /12 with 10,000 blocks of 1,000 nodes, all of which want more.
func BenchmarkARoundOfNeighbours(b *testing.B) {
	benchmarkRound(b, aPool("a", "10.0.0.0/12", 26))
}
