//go:build tools

// Package cometbft pins the CometBFT node program: go.mod names the version,
// this import keeps `go mod tidy` from dropping it.
package cometbft

import _ "github.com/cometbft/cometbft/cmd/cometbft"
