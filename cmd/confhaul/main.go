// Command confhaul keeps proven-complete, versioned copies of router configurations.
package main

import (
	"os"

	"github.com/confhaul/confhaul/cmd/internal/cli"
)

func main() { os.Exit(cli.Main()) }
