// Package install puts on a node what a container runtime needs to find Causeway, the CNI plugin and its configuration, and
// takes everything of Causeway's away from a node again. It changes files that bear our name and kernel objects that
// bear our mark; what others made stays.
package install
