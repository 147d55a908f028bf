// Package veth makes, checks and removes one pod's link: the veth pair, the pod's addresses and routes, the host
// end's sysctls and routes. A Spec comes in and the kernel changes; which address a pod gets is decided elsewhere.
package veth
