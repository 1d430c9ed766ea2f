package deployments

import (
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	promquery "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	tablepanel "github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

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

func TestGrafanaDashboardIsGrafanas(t *testing.T) {
	t.Parallel()
	text := read(t, "grafana/dashboard.json")
	if err := strictly([]byte(text)); err != nil {
		t.Error(err)
	}
	if strictly([]byte(strings.ReplaceAll(text, `"legendFormat"`, `"legendFormt"`))) == nil {
		t.Error("Grafana's types take what they do not know")
	}
}
