package event

import "sipxrest/sipflow"

// What a cause does not say yet: sipflow is about to.

func notTried(*sipflow.Cause) bool    { return false }
func fellOnOther(*sipflow.Cause) bool { return false }
func lost(k *sipflow.Cause) bool {
	return k.Stage == sipflow.StageConnected && (k.Code == 481 || k.Code == 408)
}
func isInternal(error) bool { return false }
func unreported(error) bool { return false }
