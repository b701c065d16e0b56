// The peer's external builder for chaincode as a service. It is a program and not three scripts, because the image has no shell.
//
// The peer calls it by the names and with the folders that Fabric's contract for external builders gives: `detect SOURCE METADATA`,
// `build SOURCE METADATA OUTPUT`, `release OUTPUT RELEASE`. There is no `run`: the service runs already, and the peer dials it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// valuesVariable names the variable with the values, a JSON object, that stand in for `{{.name}}` in a package's connection.json.
const valuesVariable = "CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG"

func main() {
	name := filepath.Base(os.Args[0])
	if err := run(name, os.Args[1:], os.Getenv(valuesVariable)); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func run(name string, folders []string, values string) error {
	switch {
	case name == "detect" && len(folders) == 2:
		return detect(folders[1])
	case name == "build" && len(folders) == 3:
		return build(folders[0], folders[1], folders[2], values)
	case name == "release" && len(folders) == 2:
		return release(folders[0], folders[1])
	}
	return fmt.Errorf("detect SOURCE METADATA, build SOURCE METADATA OUTPUT or release OUTPUT RELEASE; not %s with %d folders", name, len(folders))
}
