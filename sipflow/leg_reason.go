package sipflow

import (
	"errors"
	"fmt"
)

// reasonFor is the Reason header line (RFC 3326) that tells a phone why it is
// hung up; empty when there is nothing to tell.
func (c *Call) reasonFor(err error) string {
	if err == nil {
		return ""
	}
	var refused *StatusError
	var caused *sentError
	var hungUp *hungUpError
	var byClient *ClientHangUp
	switch {
	case errors.As(err, &byClient):
		return fmt.Sprintf("Reason: Q.850;cause=%d;text=%q\r\n", byClient.Cause, byClient.Text)
	case errors.As(err, &hungUp):
		return hungUp.reasons
	case errors.As(err, &caused) && caused.cause != "":
		return reasonLine(caused.Code, caused.Reason) + caused.cause
	case errors.Is(err, ErrCancelled):
		return cancelReasons(err)
	case errors.As(err, &refused):
		return reasonLine(refused.Code, refused.Reason)
	case errors.Is(err, errNoNotify):
		return reasonLine(408, "No NOTIFY After REFER")
	case errors.Is(err, errTimeout), errors.Is(err, errExpired), errors.Is(err, errNoAck):
		return reasonLine(408, "")
	case errors.Is(err, errNoSDP):
		return reasonLine(488, "")
	case errors.Is(err, ErrDraining):
		return reasonLine(503, "Shutting Down")
	case errors.Is(err, ErrNodeLost):
		return reasonLine(503, "Node Lost")
	}
	return ""
}
