//! The independent reference: plain loops over unpacked signs. Shares no helper with the kernels.
