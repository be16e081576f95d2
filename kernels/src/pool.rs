//! Pooling and elementwise operations on f32 NHWC values.
