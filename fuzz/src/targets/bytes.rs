//! Bytes as choices.

/// Hands out choices until there are no more, then zeros.
pub(super) struct Choices<'a>(pub(super) &'a [u8]);

impl Choices<'_> {
    pub(super) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// Mostly a small number; sometimes one at which arithmetic breaks.
    pub(super) fn size(&mut self) -> usize {
        const EDGES: [usize; 12] =
            [0, 31, 32, 33, 255, 256, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 53, usize::MAX];
        match self.byte() {
            byte @ 0..240 => usize::from(byte % 24),
            byte => EDGES[usize::from(byte - 240) % EDGES.len()],
        }
    }

    pub(super) fn pick<'b, T>(&mut self, items: &'b [T]) -> &'b T {
        &items[usize::from(self.byte()) % items.len()]
    }

    /// Values of which some may be none that a file may have.
    pub(super) fn floats(&mut self, len: usize) -> Vec<f32> {
        const EDGES: [f32; 8] = [0.0, -0.0, 1e-41, 3e38, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE, -1e20];
        let (start, edge) = (self.byte(), self.byte());
        let value = |i: usize| ((usize::from(start) + i * 29) % 61) as f32 / 32.0 - 0.9;
        let mut values: Vec<f32> = (0..len).map(value).collect();
        if edge < 32 && len > 0 {
            values[usize::from(start) % len] = EDGES[usize::from(edge) % EDGES.len()];
        }
        if edge >= 224 {
            values.iter_mut().for_each(|value| *value = value.abs() + 0.05);
        }
        values
    }
}
