package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// secureProxy writes the certificates of a proxy with TLS and WebSocket and
// returns what its configuration has more.
func (l *Lab) secureProxy(p *Proxy) (modules, contact, upgrade string) {
	l.tb.Helper()
	ca, caKey := l.certificate("lab CA", nil, nil)
	other, _ := l.certificate("another CA", nil, nil)
	cert, key := l.certificate("localhost", ca, caKey)
	p.CA, p.OtherCA = l.writePEM("ca.pem", "CERTIFICATE", ca.Raw), l.writePEM("other.pem", "CERTIFICATE", other.Raw)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		l.tb.Fatal(err)
	}
	certFile, keyFile := l.writePEM("proxy.pem", "CERTIFICATE", cert.Raw), l.writePEM("proxy.key", "PRIVATE KEY", der)
	modules = fmt.Sprintf(`enable_tls=yes
loadmodule "tls.so"
loadmodule "xhttp.so"
loadmodule "websocket.so"
loadmodule "nathelper.so"
listen=tls:127.0.0.1:%d
# Requests over WebSocket have no Content-Length.
tcp_accept_no_cl=yes
modparam("nathelper|registrar", "received_avp", "$avp(RECEIVED)")
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "%s")
modparam("tls", "private_key", "%s")
`, p.SecurePort, certFile, keyFile)
	// It cannot connect to a WebSocket server: what is for us, or for a browser, goes
	// over the connection that we, or the browser, have opened (RFC 7118 §5).
	contact = `	if (proto == WS || proto == WSS) {
		force_rport();
		if (is_method("REGISTER")) fix_nated_register();
		if (is_method("INVITE|REFER|SUBSCRIBE|UPDATE")) add_contact_alias();
	}
	if (has_totag()) handle_ruri_alias();
`
	upgrade = `onreply_route {
	if (proto == WS || proto == WSS) add_contact_alias();
}
event_route[xhttp:request] {
	if ($hdr(Upgrade) =~ "websocket" && $rm == "GET") {
		ws_handle_handshake();
		exit;
	}
	xhttp_reply("404", "Not Found", "", "");
}
event_route[websocket:closed] {
	xlog("L_NOTICE", "ladder: WebSocket from $si:$sp closed\n");
}
`
	return modules, contact, upgrade
}

func (l *Lab) writePEM(name, kind string, der []byte) string {
	l.tb.Helper()
	return l.write(name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

// certificate makes one for a name; without a signer it is an authority's.
func (l *Lab) certificate(name string, signer *x509.Certificate, signerKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	l.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		l.tb.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	if signer == nil {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
		signer, signerKey = c, key
	} else {
		c.DNSNames, c.ExtKeyUsage = []string{name}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, signer, &key.PublicKey, signerKey)
	if err != nil {
		l.tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		l.tb.Fatal(err)
	}
	return cert, key
}
