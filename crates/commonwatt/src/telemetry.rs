//! Logs to standard error, and traces to a collector where one is configured.

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::settings::Telemetry;

/// What is logged when nobody says.
const LOG: &str = "warn,commonwatt=info,commonwatt_grid=info,commonwatt_server=info";

/// Sends what is left when it is dropped.
pub(crate) struct Exporting(Option<SdkTracerProvider>);

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Some(provider) = &self.0 {
            // The collector may be gone; there is nobody left to tell.
            let _ = provider.shutdown();
        }
    }
}

/// Starts logging, and tracing where a collector is configured.
///
/// # Errors
/// A log filter that cannot be read, a collector that cannot be addressed.
pub(crate) fn start(telemetry: &Telemetry) -> anyhow::Result<Exporting> {
    let text = telemetry.log.as_deref().unwrap_or(LOG);
    let filter = EnvFilter::try_new(text).with_context(|| {
        format!("`{text}` in `COMMONWATT_LOG` is no log filter: write `info` or `commonwatt=debug`")
    })?;
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_filter(filter);
    let provider = telemetry.otlp_endpoint.as_deref().map(|to| provider(to, &telemetry.service_name)).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        let only_calls = Targets::new().with_target(commonwatt_grid::trace::TARGET, tracing::Level::INFO);
        tracing_opentelemetry::layer().with_tracer(provider.tracer("commonwatt")).with_filter(only_calls)
    });
    tracing_subscriber::registry().with(logs).with(traces).try_init().context("logging was set up twice")?;
    Ok(Exporting(provider))
}

fn provider(endpoint: &str, service_name: &str) -> anyhow::Result<SdkTracerProvider> {
    let address = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder().with_http().with_endpoint(address).build();
    let exporter = exporter.with_context(|| format!("traces cannot be sent to `{endpoint}`"))?;
    let resource = Resource::builder().with_service_name(service_name.to_owned()).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
