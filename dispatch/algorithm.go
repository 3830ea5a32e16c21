package dispatch

import (
	"fmt"
	"slices"
	"strings"

	"sipxrest/internal/fault"
	"sipxrest/sipflow"
)

// addAlgorithms takes the digest algorithms of the configuration.
func (st *state) addAlgorithms(names []string) error {
	for _, name := range names {
		algorithm := strings.ToUpper(name)
		switch {
		case algorithm != sipflow.AlgorithmSHA256 && algorithm != sipflow.AlgorithmMD5:
			return &fault.Fault{Key: "dispatch.digest-algorithms", Err: fmt.Errorf("%.40q: write SHA-256, MD5 or both, in the order of the challenges", name)}
		case slices.Contains(st.algorithms, algorithm):
			return &fault.Fault{Key: "dispatch.digest-algorithms", Err: fmt.Errorf("%s is there twice", algorithm)}
		}
		st.algorithms = append(st.algorithms, algorithm)
	}
	return nil
}

// algorithms is sipflow.Inbound.Algorithms.
func (d *Dispatcher) algorithms() []string { return d.now.Load().algorithms }
