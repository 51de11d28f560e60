mod bad_input;
mod cdnow;
mod simulated;
