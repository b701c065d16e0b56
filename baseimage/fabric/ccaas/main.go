// The peer's external builder for chaincode as a service. It is one program instead of three scripts, because
// the image has no shell.
//
// The peer calls it as defined for Fabric's external builders: `detect SOURCE METADATA`, `build SOURCE
// METADATA OUTPUT`, `release OUTPUT RELEASE`. It has no `run`: the service already runs, and the peer
// connects to it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// valuesVariable is the environment variable with a JSON object of values for `{{.name}}` in a package's
// connection.json.
const valuesVariable = "CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG"

func main() {
	name := filepath.Base(os.Args[0])
	if err := run(name, os.Args[1:], os.Getenv(valuesVariable)); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func run(name string, directories []string, values string) error {
	switch {
	case name == "detect" && len(directories) == 2:
		return detect(directories[1])
	case name == "build" && len(directories) == 3:
		return build(directories[0], directories[1], directories[2], values)
	case name == "release" && len(directories) == 2:
		return release(directories[0], directories[1])
	}
	return fmt.Errorf("use detect SOURCE METADATA, build SOURCE METADATA OUTPUT or release OUTPUT RELEASE; not %s with %d directories", name, len(directories))
}
