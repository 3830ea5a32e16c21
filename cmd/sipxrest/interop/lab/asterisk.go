package lab

import (
	"fmt"
	"strings"
)

// The folders of Asterisk, all in the lab's own, and the modules that the guide needs:
// all of Debian's would take seconds, and ask for sound cards.
const (
	asteriskConfig = `[directories]
astetcdir => %[1]s
astdbdir => %[1]s
astkeydir => %[1]s
astspooldir => %[1]s
astrundir => %[1]s
astlogdir => %[1]s
astcachedir => %[1]s
`
	asteriskLog     = "[logfiles]\nconsole => notice,warning,error\n"
	asteriskModules = `[modules]
autoload=no
load=app_dial.so
load=bridge_builtin_features.so
load=bridge_builtin_interval_features.so
load=bridge_holding.so
load=bridge_native_rtp.so
load=bridge_simple.so
load=chan_pjsip.so
load=codec_alaw.so
load=codec_ulaw.so
load=func_callerid.so
load=func_channel.so
load=pbx_config.so
load=res_pjproject.so
load=res_pjsip.so
load=res_pjsip_acl.so
load=res_pjsip_authenticator_digest.so
load=res_pjsip_caller_id.so
load=res_pjsip_dtmf_info.so
load=res_pjsip_endpoint_identifier_ip.so
load=res_pjsip_endpoint_identifier_user.so
load=res_pjsip_logger.so
load=res_pjsip_nat.so
load=res_pjsip_outbound_authenticator_digest.so
load=res_pjsip_pubsub.so
load=res_pjsip_refer.so
load=res_pjsip_registrar.so
load=res_pjsip_rfc3326.so
load=res_pjsip_sdp_rtp.so
load=res_pjsip_session.so
load=res_rtp_asterisk.so
load=res_sorcery_astdb.so
load=res_sorcery_config.so
load=res_sorcery_memory.so
load=res_timing_timerfd.so
`
)

// serveAsterisk starts Asterisk with files of a page and waits until it answers.
func (p *Proxy) serveAsterisk(l *Lab, files map[string]string) {
	l.tb.Helper()
	Need(l.tb, "asterisk")
	rtp := Ports(l.tb, 40)
	l.write("asterisk/asterisk.conf", fmt.Sprintf(asteriskConfig, l.Dir+"/asterisk"))
	l.write("asterisk/logger.conf", asteriskLog)
	l.write("asterisk/modules.conf", asteriskModules)
	l.write("asterisk/rtp.conf", fmt.Sprintf("[general]\nrtpstart=%d\nrtpend=%d\nicesupport=no\n", rtp, rtp+39))
	for name, text := range files {
		if strings.HasSuffix(name, ".conf") {
			l.write("asterisk/"+name, text)
		}
	}
	p.Process = start(l.tb, "asterisk", l.Dir, "asterisk", "-f", "-n", "-vvvv", "-C", l.Dir+"/asterisk/asterisk.conf")
	l.Until("asterisk answers OPTIONS", func() bool {
		select {
		case <-p.Done():
			l.tb.Fatalf("asterisk ended: %v\n%s", p.Wait(0), strings.Join(p.Lines(), "\n"))
		default:
		}
		return answersOptions(p.Addr)
	})
}
