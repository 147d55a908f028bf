// Package objects reads the cluster, once or each time that it changes: a client and the kinds that a command needs come in, all
// their objects go out as one value, with what could not be read and why. It decides nothing and writes nothing.
package objects
