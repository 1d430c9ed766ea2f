package chaos

import (
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/routersim"
)

// at is a moment of a made-up run.
func at(seconds float64) time.Time {
	return time.Unix(1_800_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

// ses is a session with a login and a whole export.
func ses(device string, from, to float64) Session {
	return Session{Session: routersim.Session{Device: device, From: at(from), To: at(to), Login: routersim.LoginOK, Bytes: 100}}
}

func refused(device string, from, to float64) Session {
	s := ses(device, from, to)
	s.Login, s.Bytes = routersim.LoginRefused, 0
	return s
}

func fault(act Act, role Role, from, to float64) Fault {
	return Fault{Act: act, Role: role, From: at(from), To: at(to)}
}

func evidence(sort Sort, faults []Fault, sessions ...Session) Evidence {
	return Evidence{
		Interval: 10 * time.Second, SiteLimit: 2, Ladder: backup.Ladder{5 * time.Second, 10 * time.Second, 20 * time.Second},
		Devices: []Device{{"a", "oslo", sort}, {"b", "oslo", sort}, {"c", "oslo", sort}, {"d", "riga", sort}},
		Faults:  faults, Sessions: sessions, Begin: at(0), Calm: at(100), Finish: at(1000),
	}
}

func TestOverlaps(t *testing.T) {
	t.Parallel()
	still, open := ses("a", 0, 100), ses("a", 0, 0)
	open.Open = true
	moving := still
	moving.Growth = []Growth{{at(2), 10}, {at(90), 100}}
	for name, c := range map[string]struct {
		e    Evidence
		want int
	}{
		"one after the other":          {evidence(Healthy, nil, ses("a", 0, 1), ses("a", 1, 2)), 0},
		"two devices":                  {evidence(Healthy, nil, ses("a", 0, 5), ses("b", 1, 2)), 0},
		"two at once":                  {evidence(Healthy, nil, ses("a", 0, 5), ses("a", 4, 6)), 1},
		"within one, after another":    {evidence(Healthy, nil, ses("a", 0, 9), ses("a", 1, 2), ses("a", 3, 4)), 2},
		"closing":                      {evidence(Healthy, nil, ses("a", 0, 5), ses("a", 4.8, 6)), 0},
		"open for ever":                {evidence(Healthy, nil, open, ses("a", 50, 51)), 1},
		"stopped, mark expired":        {evidence(Healthy, []Fault{fault(Stop, Worker, 5, 99)}, still, ses("a", 61, 62)), 0},
		"stopped, mark live":           {evidence(Healthy, []Fault{fault(Stop, Worker, 5, 99)}, still, ses("a", 40, 41)), 1},
		"stopped after a renewal":      {evidence(Healthy, []Fault{fault(Stop, Worker, 25, 99)}, still, ses("a", 70, 71)), 1},
		"stopped, carries bytes later": {evidence(Healthy, []Fault{fault(Stop, Worker, 5, 85)}, moving, ses("a", 70, 71)), 1},
		"awake again":                  {evidence(Healthy, []Fault{fault(Stop, Worker, 5, 50)}, still, ses("a", 65, 66)), 1},
		"a scheduler was stopped":      {evidence(Healthy, []Fault{fault(Stop, Scheduler, 5, 99)}, still, ses("a", 61, 62)), 1},
	} {
		if got := Overlaps(c.e); len(got) != c.want {
			t.Errorf("%s: %v, want %d", name, got, c.want)
		}
	}
}

func TestOverLimit(t *testing.T) {
	t.Parallel()
	stop := fault(Stop, Worker, 5, 99)
	for name, c := range map[string]struct {
		e    Evidence
		want int
	}{
		"at the limit":           {evidence(Healthy, nil, ses("a", 0, 5), ses("b", 1, 5), ses("c", 5.5, 6)), 0},
		"over it":                {evidence(Healthy, nil, ses("a", 0, 5), ses("b", 1, 5), ses("c", 2, 6)), 1},
		"another site":           {evidence(Healthy, nil, ses("a", 0, 5), ses("b", 1, 5), ses("d", 2, 6)), 0},
		"one is closing":         {evidence(Healthy, nil, ses("a", 0, 5), ses("b", 1, 5), ses("c", 4.95, 6)), 0},
		"a ghost":                {evidence(Healthy, []Fault{stop}, ses("a", 0, 90), ses("b", 64, 70), ses("c", 65, 70)), 0},
		"stopped, mark live":     {evidence(Healthy, []Fault{stop}, ses("a", 0, 90), ses("b", 34, 40), ses("c", 35, 40)), 1},
		"stopped, then emptied":  {evidence(Healthy, []Fault{stop, fault(Flush, Redis, 10, 10)}, ses("a", 0, 90), ses("b", 34, 40), ses("c", 35, 40)), 0},
		"emptied a moment ago":   {evidence(Healthy, []Fault{stop, fault(Kill, Redis, 20, 21)}, ses("a", 0, 90), ses("b", 34, 40), ses("c", 35, 40)), 1},
		"emptied, nobody stands": {evidence(Healthy, []Fault{fault(Flush, Redis, 10, 10)}, ses("a", 0, 90), ses("b", 34, 40), ses("c", 35, 40)), 1},
	} {
		if got := OverLimit(c.e); len(got) != c.want {
			t.Errorf("%s: %v, want %d", name, got, c.want)
		}
	}
}

func TestBlockedDials(t *testing.T) {
	t.Parallel()
	first, again := refused("a", 10, 10.2), refused("a", 30, 30.2)
	for name, c := range map[string]struct {
		e             Evidence
		want, repeats int
	}{
		"once":                      {evidence(Refusing, nil, first), 0, 0},
		"twice":                     {evidence(Refusing, nil, first, again), 1, 0},
		"three times":               {evidence(Refusing, nil, first, again, refused("a", 50, 50.1)), 2, 0},
		"not even a login":          {evidence(Refusing, nil, first, Session{Session: routersim.Session{Device: "a", From: at(30), To: at(31)}}), 1, 0},
		"cut before its login":      {evidence(Refusing, nil, Session{Session: routersim.Session{Device: "a", From: at(3), To: at(4)}}, first), 0, 0},
		"its worker was killed":     {evidence(Refusing, []Fault{fault(Kill, Worker, 11, 12)}, first, again), 0, 1},
		"a worker was killed later": {evidence(Refusing, []Fault{fault(Kill, Worker, 20, 22)}, first, again), 1, 0},
		"a kill excuses one":        {evidence(Refusing, []Fault{fault(Kill, Worker, 11, 12)}, first, again, refused("a", 50, 50.1)), 1, 1},
		"a scheduler was killed":    {evidence(Refusing, []Fault{fault(Kill, Scheduler, 11, 12)}, first, again), 1, 0},
		"nats away, then killed":    {evidence(Refusing, []Fault{fault(Kill, NATS, 9, 18), fault(Kill, Worker, 19, 20)}, first, again), 0, 1},
		"stopped for a moment":      {evidence(Refusing, []Fault{fault(Stop, Worker, 11, 14)}, first, again), 1, 0},
		"of a healthy device":       {evidence(Healthy, nil, first, again), 0, 0},
	} {
		if got, repeats := BlockedDials(c.e); len(got) != c.want || repeats != c.repeats {
			t.Errorf("%s: %v and %d repeats, want %d and %d", name, got, repeats, c.want, c.repeats)
		}
	}
}

func TestEarlyDials(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		e    Evidence
		want int
	}{
		"kept":                   {evidence(Failing, nil, ses("a", 0, 1), ses("a", 6, 7), ses("a", 17, 18), ses("a", 38, 39)), 0},
		"a tenth and 2 s sooner": {evidence(Failing, nil, ses("a", 0, 1), ses("a", 3.6, 7), ses("a", 14.1, 18), ses("a", 34.1, 39)), 0},
		"first step":             {evidence(Failing, nil, ses("a", 0, 1), ses("a", 3.4, 4)), 1},
		"last step repeats":      {evidence(Failing, nil, ses("a", 0, 1), ses("a", 6, 7), ses("a", 17, 18), ses("a", 38, 39), ses("a", 50, 51)), 1},
		"begun anew":             {evidence(Failing, nil, ses("a", 0, 1), ses("a", 6, 7), ses("a", 17, 18), ses("a", 23, 24)), 1},
		"touched, not counted":   {evidence(Failing, []Fault{fault(Kill, Worker, 6.5, 7)}, ses("a", 0, 1), ses("a", 6, 7), ses("a", 15, 16)), 0},
		"touched, at once":       {evidence(Failing, []Fault{fault(Kill, Worker, 6.5, 7)}, ses("a", 0, 1), ses("a", 6, 7), ses("a", 8, 9)), 1},
		"of a healthy device":    {evidence(Healthy, nil, ses("a", 0, 1), ses("a", 1, 2)), 0},
		"two at once":            {evidence(Failing, nil, ses("a", 0, 9), ses("a", 1, 2)), 1},
	} {
		if got := EarlyDials(c.e); len(got) != c.want {
			t.Errorf("%s: %v, want %d", name, got, c.want)
		}
	}
}

func TestCounted(t *testing.T) {
	t.Parallel()
	of := func(sort Sort, failures int, faults ...Fault) Evidence {
		e := evidence(sort, faults, ses("a", 0, 1))
		e.Messages = []Message{{Device: "a", At: at(1), Failures: failures}}
		return e
	}
	for name, c := range map[string]struct {
		e    Evidence
		want int
	}{
		"a failure":        {of(Healthy, 1, fault(Term, Worker, 0, 1)), 1},
		"none":             {of(Healthy, 0, fault(Term, Worker, 0, 1)), 0},
		"a failing router": {of(Failing, 1, fault(Term, Worker, 0, 1)), 0},
		"after a kill":     {of(Healthy, 1, fault(Term, Worker, 0, 1), fault(Kill, Worker, 0, 1)), 0},
	} {
		if got := Counted(c.e); len(got) != c.want {
			t.Errorf("%s: %v, want %d", name, got, c.want)
		}
	}
}

func TestSlots(t *testing.T) {
	t.Parallel()
	one := func(faults []Fault, starts ...float64) Evidence {
		e := evidence(Healthy, faults, ses("a", 5, 6))
		e.Devices, e.Interval = e.Devices[:1], 100*time.Second
		e.Begin, e.Calm = Slots("a", e.Interval, at(0), at(1000))[0], Slots("a", e.Interval, at(0), at(1000))[1]
		for _, s := range starts {
			e.Proofs = append(e.Proofs, Proof{"a", e.Begin.Add(time.Duration(s) * time.Second)})
		}
		e.Finish = e.Begin.Add(2000 * time.Second)
		return e
	}
	begin := one(nil).Begin
	from := func(seconds float64) float64 { return begin.Sub(at(0)).Seconds() + seconds }
	patience := Patience(100 * time.Second).Seconds()
	cut := ses("a", from(99), from(111))
	for name, c := range map[string]struct {
		e    Evidence
		want int
	}{
		"both in time":            {one(nil, 1, 100), 0},
		"one for both, too early": {one(nil, 99), 1},
		"one for both":            {one(nil, 110), 0},
		"none":                    {one(nil), 2},
		"patience":                {one(nil, 1, 100+patience), 0},
		"beyond it":               {one(nil, 1, 101+patience), 1},
		"redis was away":          {one([]Fault{fault(Kill, Redis, from(110), from(130))}, 1, 140+patience), 0},
		"but not as long":         {one([]Fault{fault(Kill, Redis, from(110), from(130))}, 1, 160+patience), 1},
		"outages count once":      {one([]Fault{fault(Kill, Redis, from(110), from(130)), fault(Kill, NATS, from(110), from(130))}, 1, 160+patience), 1},
		"another one was cut":     {one([]Fault{fault(Kill, Worker, from(110), from(111))}, 1, 110+patience), 1},
	} {
		if got := judgeSlots(c.e); len(got.lost) != c.want || got.due != 2 {
			t.Errorf("%s: %v of %d, want %d of 2", name, got.lost, got.due, c.want)
		}
	}
	e := one([]Fault{fault(Kill, Worker, from(110), from(111))}, 1, 110+patience)
	e.Sessions = append(e.Sessions, cut)
	if got := judgeSlots(e); len(got.lost) != 0 {
		t.Errorf("a device whose session was cut: %v", got.lost)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	e := evidence(Refusing, []Fault{fault(Kill, Redis, 1, 2), fault(Flush, Redis, 3, 3), fault(Stop, NATS, 4, 5)}, refused("a", 10, 11), refused("a", 20, 21))
	l, breaches := Judge(e)
	if len(breaches) != 1 || l.BlockedDials != 1 || l.Kept() || l.Kills["redis"] != 1 || l.Kills["flush"] != 1 || l.Kills["stop"] != 1 {
		t.Errorf("%+v %v", l, breaches)
	}
	if l, breaches := Judge(evidence(Refusing, nil, refused("a", 10, 11))); !l.Kept() || len(breaches) != 0 {
		t.Errorf("%+v %v", l, breaches)
	}
}
