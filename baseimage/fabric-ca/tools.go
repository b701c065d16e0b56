//go:build tools

// Package ca pins Fabric CA's programs: go.mod names the version,
// these imports keep `go mod tidy` from dropping it.
package ca

import (
	_ "github.com/hyperledger/fabric-ca/cmd/fabric-ca-client"
	_ "github.com/hyperledger/fabric-ca/cmd/fabric-ca-server"
)
