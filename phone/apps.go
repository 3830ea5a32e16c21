package phone

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// What an app of Swiftarr asks about its server, before and after its user logs
// in. That service is a ship's social network, of which this one has the phone
// only: what is not here is said to be switched off, so that apps hide it.

// health reports whether the database can be read.
func (s *Service) health(w http.ResponseWriter, q *request) {
	if _, err := s.cfg.Store.Count(q.Context()); err != nil {
		s.fail(w, q.Request, err)
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Status int    `json:"status"`
		Reason string `json:"reason"`
		Error  bool   `json:"error"`
	}{http.StatusOK, "OK", false})
}

// settings are those that an app would otherwise have built in. There is no
// cruise: it begins and ends today. No access level is needed to log in.
func (s *Service) settings(w http.ResponseWriter, q *request) {
	id, err := s.cfg.Store.installation(q.Context())
	if err != nil {
		s.fail(w, q.Request, err)
		return
	}
	now := time.Now()
	zone, offset := now.Zone()
	host := q.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	year, month, day := now.Date()
	writeJSON(w, http.StatusOK, struct {
		Hosts        []string `json:"canonicalHostnames"`
		Start        string   `json:"cruiseStartDate"`
		Days         int      `json:"cruiseLengthInDays"`
		ZoneID       string   `json:"portTimeZoneID"`
		Zone         string   `json:"portTimeZoneAbbrev"`
		Offset       int      `json:"portTimeZoneOffset"`
		Schedule     string   `json:"scheduleUpdateURL"`
		Registration bool     `json:"enablePreregistration"`
		MinLevel     string   `json:"minAccessLevel"`
		PostImages   int      `json:"maxForumPostImages"`
		ImageSize    int      `json:"maxImageSize"`
		Installation string   `json:"installationID"`
	}{Hosts: []string{host}, Start: milliseconds(time.Date(year, month, day, 0, 0, 0, 0, now.Location())), Days: 1,
		ZoneID: zoneID(now), Zone: zone, Offset: offset, MinLevel: "banned", Installation: id})
}

// A switchedOff is a feature that an app is not to offer. Of "all" apps: the
// service has nothing of it.
type switchedOff struct {
	App     string `json:"appName"`
	Feature string `json:"featureName"`
}

// notHere are the features of Swiftarr that this service does not have. The
// Kraken calls through the service only where calls from phone to phone are
// switched off for it. Profiles are changed by the operator: it offers that
// under "users", which are here otherwise.
var notHere = []switchedOff{
	{"kraken", "directphone"}, {"kraken", "users"},
	{"all", "tweets"}, {"all", "forums"}, {"all", "seamail"}, {"all", "schedule"}, {"all", "friendlyfez"}, {"all", "karaoke"},
	{"all", "microkaraoke"}, {"all", "gameslist"}, {"all", "images"}, {"all", "photostream"}, {"all", "hunts"}, {"all", "performers"},
	{"all", "personalevents"},
}

// notifications are the time of the server, what is switched off, and how much
// is new: nothing. Apps ask each minute. Some read strictly, each version its
// own fields: all of them are here.
func (s *Service) notifications(w http.ResponseWriter, q *request) {
	now := time.Now()
	zone, offset := now.Zone()
	off := notHere
	if s.off.Load() {
		off = append(off[:len(off):len(off)], switchedOff{"all", "phone"})
	}
	writeJSON(w, http.StatusOK, struct {
		Time          string        `json:"serverTime"`
		Offset        int           `json:"serverTimeOffset"`
		ZoneID        string        `json:"serverTimeZoneID"`
		Zone          string        `json:"serverTimeZone"`
		Off           []switchedOff `json:"disabledFeatures"`
		Announcements []int         `json:"activeAnnouncementIDs"`
		NewAnnounced  int           `json:"newAnnouncementCount"`
		Twarrts       int           `json:"twarrtMentionCount"`
		NewTwarrts    int           `json:"newTwarrtMentionCount"`
		Forum         int           `json:"forumMentionCount"`
		NewForum      int           `json:"newForumMentionCount"`
		AddedSeamail  int           `json:"addedToSeamailCount"`
		AddedLFG      int           `json:"addedToLFGCount"`
		AddedEvent    int           `json:"addedToPrivateEventCount"`
		NewSeamail    int           `json:"newSeamailMessageCount"`
		NewFez        int           `json:"newFezMessageCount"`
		NewEvent      int           `json:"newPrivateEventMessageCount"`
		Songs         int           `json:"microKaraokeFinishedSongCount"`
		AlertWords    []string      `json:"alertWords"`
	}{Time: now.UTC().Format("2006-01-02T15:04:05Z"), Offset: offset, ZoneID: zoneID(now), Zone: zone, Off: off,
		Announcements: []int{}, AlertWords: []string{}})
}

// milliseconds is a time as apps read it: with three digits after the point.
func milliseconds(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// zoneID is the name of the machine's time zone, "Europe/Berlin". Where nothing
// tells it, it is that of a zone with the same offset now.
func zoneID(now time.Time) string {
	if name := now.Location().String(); name != "Local" {
		return name
	}
	if name := machineZone(); name != "" {
		return name
	}
	_, offset := now.Zone()
	if hours := offset / 3600; hours != 0 && offset%3600 == 0 {
		return fmt.Sprintf("Etc/GMT%+d", -hours) // POSIX counts them westwards
	}
	return "UTC"
}

// machineZone reads the name once, as the time package reads the zone.
var machineZone = sync.OnceValue(func() string {
	target, err := os.Readlink("/etc/localtime")
	if err != nil {
		return ""
	}
	_, name, _ := strings.Cut(target, "/zoneinfo/")
	return name
})
