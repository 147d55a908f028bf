package gobgp

// Export for the tests against a running speaker.
var (
	Mutate  = mutate
	Updates = updates
	Message = message
)
