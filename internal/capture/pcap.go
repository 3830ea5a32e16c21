package capture

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// snapLength is what the file says of the longest packet, in bytes.
const snapLength = 65535

// WritePcap writes messages as a capture file (draft-ietf-opsawg-pcap) of IP packets: each
// message is one datagram, whatever it went over, since programs that show calls read
// those. Of TLS the text in it is written.
func WritePcap(w io.Writer, list []Message) error {
	file := pcapgo.NewWriter(w)
	if err := file.WriteFileHeader(snapLength, layers.LinkTypeRaw); err != nil {
		return err
	}
	for i := range list {
		packet, err := datagram(&list[i])
		if err != nil {
			return err
		}
		info := gopacket.CaptureInfo{Timestamp: list[i].At, CaptureLength: len(packet), Length: len(packet)}
		if err := file.WritePacket(info, packet); err != nil {
			return err
		}
	}
	return nil
}

// datagram is a message as an IP packet.
func datagram(m *Message) ([]byte, error) {
	local, remote := addressOf(m.Local, m.Remote), m.Remote
	src, dst := remote, local
	if m.Out {
		src, dst = local, remote
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	var ip gopacket.SerializableLayer
	from, to := src.Addr().Unmap(), dst.Addr().Unmap()
	if from.Is4() && to.Is4() {
		v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP(from.AsSlice()), DstIP: net.IP(to.AsSlice())}
		ip = v4
		if err := udp.SetNetworkLayerForChecksum(v4); err != nil {
			return nil, err
		}
	} else {
		a, b := from.As16(), to.As16()
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: net.IP(a[:]), DstIP: net.IP(b[:])}
		ip = v6
		if err := udp.SetNetworkLayerForChecksum(v6); err != nil {
			return nil, err
		}
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(m.Text))
	if err != nil {
		return nil, fmt.Errorf("a message as a packet: %w", err)
	}
	return b.Bytes(), nil
}

// addressOf is the address of a socket of ours. One that is known by a name has an
// address of the peer's family that says that nobody knows it.
func addressOf(hostPort string, peer netip.AddrPort) netip.AddrPort {
	if a, err := netip.ParseAddrPort(hostPort); err == nil {
		return a
	}
	unknown := netip.IPv4Unspecified()
	if !peer.Addr().Unmap().Is4() {
		unknown = netip.IPv6Unspecified()
	}
	_, port, _ := net.SplitHostPort(hostPort)
	n, _ := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(unknown, uint16(n))
}
