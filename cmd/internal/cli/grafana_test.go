package cli

import (
	"encoding/json"
	"testing"
	"unicode"
)

// panel is what these tests look at of a panel of Grafana.
type panel struct {
	ID      int    `json:"id"`
	Type    string `json:"type"`
	Title   string `json:"title"`
	GridPos struct{ H, W, X, Y int }
	Source  struct{ Type, UID string } `json:"datasource"`
	Targets []struct {
		Expr   string                     `json:"expr"`
		RefID  string                     `json:"refId"`
		Source struct{ Type, UID string } `json:"datasource"`
	} `json:"targets"`
}

func grafanaPanels(t *testing.T) []panel {
	t.Helper()
	text := []byte(readText(t, deployments+"grafana/dashboard.json"))
	var d struct {
		UID        string  `json:"uid"`
		Title      string  `json:"title"`
		Schema     int     `json:"schemaVersion"`
		Panels     []panel `json:"panels"`
		Templating struct {
			List []struct{ Name, Type string }
		} `json:"templating"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.Schema < 39 || len(d.Panels) == 0 {
		t.Errorf("uid %q, title %q, schema %d, %d panels", d.UID, d.Title, d.Schema, len(d.Panels))
	}
	if v := d.Templating.List; len(v) != 2 || v[0].Name != "datasource" || v[1].Name != "site" {
		t.Errorf("variables %+v", v)
	}
	return d.Panels
}

// TestGrafanaDashboard holds the dashboard against the registry; a test of deployments holds it against Grafana's own types.
func TestGrafanaDashboard(t *testing.T) {
	t.Parallel()
	known, ids, cells := documented(t), map[int]bool{}, map[[2]int]string{}
	for _, p := range grafanaPanels(t) {
		if p.Title == "" || !unicode.IsUpper([]rune(p.Title)[0]) || ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %d %q: no title, or an id that is taken", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s lies over %q or the edge at %d, %d", p.Title, other, x, y)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		switch p.Type {
		case "row":
			continue
		case "stat", "timeseries", "state-timeline", "table": // those that are decoded strictly
		default:
			t.Errorf("%s is a %s, which is not decoded strictly", p.Title, p.Type)
		}
		if len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			if target.Source.UID != "${datasource}" || p.Source.UID != "${datasource}" || target.RefID == "" {
				t.Errorf("%s: %s does not ask the data source that was chosen", p.Title, target.Expr)
			}
			checkMetrics(t, p.Title, target.Expr, known)
		}
	}
}
