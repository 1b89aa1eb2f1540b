mod hostile;
mod laws;
pub(crate) mod samples;
mod tamper;
