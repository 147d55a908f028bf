// Package addresses stands between the cluster and the address book. It brings pools and blocks into the book and the
// book's shares into the claim, and says which pools may serve a pod. It writes nothing to the API and changes no kernel.
package addresses
