// Package deployments holds what runs confhaul elsewhere: image, compose, Kubernetes, systemd and the Debian package. Its tests
// render all of it and decode it strictly against the types of those who read it. It is a module of its own, so that those
// types are no dependencies of confhaul.
package deployments
