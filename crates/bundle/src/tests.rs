mod hostile;
mod laws;
mod samples;
mod tamper;
