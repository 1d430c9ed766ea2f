package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	promquery "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	tablepanel "github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
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

// strictly decodes the dashboard into Grafana's own types: what they do not know, and what they need and do not find, is an
// error. It knows the kinds of panel and of query that it is told of here, and lets others pass.
func strictly(text []byte) error {
	kinds := cog.NewRuntime()
	kinds.RegisterDataqueryVariant(promquery.VariantConfig())
	for _, kind := range []variants.PanelcfgConfig{
		stat.VariantConfig(), timeseries.VariantConfig(), statetimeline.VariantConfig(), tablepanel.VariantConfig(),
	} {
		kinds.RegisterPanelcfgVariant(kind)
	}
	var d dashboard.Dashboard //nolint:staticcheck // its successor is a schema that only the newest Grafana reads
	err := d.UnmarshalJSONStrict(text)
	if err == nil || err.Error() == "" { // an empty list of errors is no nil to them
		err = d.Validate()
	}
	return err
}

// TestGrafanaDashboard holds the dashboard against what Grafana needs and against the registry.
func TestGrafanaDashboard(t *testing.T) {
	t.Parallel()
	text := readText(t, deployments+"grafana/dashboard.json")
	if err := strictly([]byte(text)); err != nil {
		t.Error(err)
	}
	if strictly([]byte(strings.ReplaceAll(text, `"legendFormat"`, `"legendFormt"`))) == nil {
		t.Error("Grafana's types take what they do not know")
	}
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
