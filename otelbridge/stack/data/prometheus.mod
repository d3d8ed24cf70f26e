// The module that `otelbridge stack build` compiles Prometheus and promtool in. It repeats the excludes and the
// replacement of Prometheus's own go.mod, because Go heeds those of the main module only and refuses to
// install a module that has them. v0.315.0 is the module version of Prometheus 3.15.0.
module otelbridge.dev/prometheus

go 1.26.0

require github.com/prometheus/prometheus v0.315.0

exclude github.com/linode/linodego v1.0.0

exclude (
	github.com/grpc-ecosystem/grpc-gateway v1.14.7
	google.golang.org/api v0.30.0
)

replace cloud.google.com/go => cloud.google.com/go v0.123.0
