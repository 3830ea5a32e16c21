package callcontroller

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"sipxrest/order"
	"sipxrest/schema"
	"sipxrest/sipflow"
)

// Early answers a POST that asks for a call when there is no room for one, before the
// request is handled: answer is a whole HTTP/1.1 answer, nil when Handler is to answer.
// asked says that it need not ask again whether there is room.
func (c *Controller) Early(method, target []byte) (answer []byte, asked bool) {
	rest, ok := bytes.CutPrefix(target, []byte(callPrefix+"/"))
	if string(method) != http.MethodPost || !ok || bytes.Contains(rest, []byte("action=")) || bytes.IndexByte(rest, '%') >= 0 {
		return nil, false // it may be about a call in progress
	}
	calling, _, _ := bytes.Cut(rest, []byte{'/'})
	if c.admit(string(calling[:min(len(calling), order.MaxUser)])) == nil {
		return nil, true
	}
	return overloaded, false
}

// overloaded is the answer to a call that there is no room for.
var overloaded = func() []byte {
	why := tooMany(&sipflow.LimitError{Limit: sipflow.LimitOverload, Wait: time.Second})
	doc := schema.AppendProcessingStatus(nil, why.code, why.text)
	b := append([]byte(nil), "HTTP/1.1 503 Service Unavailable\r\nContent-Type: "+contentType[0]+"\r\nRetry-After: "+strconv.Itoa(why.retry)+
		"\r\nContent-Length: "+strconv.Itoa(len(doc))+"\r\n\r\n"...)
	return append(b, doc...)
}()
