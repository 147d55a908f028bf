// Package debug shows a person what the running agent knows and wants: windows, each as text and as JSON, and Go's
// profiles, on a unix socket that root alone can open. It reads and changes nothing by itself.
package debug
