//! Typed per-vCPU requests (being written).
