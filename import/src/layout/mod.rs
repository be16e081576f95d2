//! How a value's logical axes lie in the engine's memory.

/// A value's memory as a product of factors, and what each logical axis (ONNX, batch included) consists of. Moving axes and cutting
/// or joining them changes the names of factors alone; values move when an operation needs another order than they have.
///
/// Axes of size 1 have no factor, and no factor has size 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The sizes of the factors in memory, the last of them neighbours.
    pub(crate) factors: Vec<usize>,
    /// For each logical axis its factors, the most significant first.
    pub(crate) axes: Vec<Vec<usize>>,
}

impl View {
    /// A value of that shape whose memory follows its axes in that order.
    pub(crate) fn ordered(shape: &[usize], order: &[usize]) -> Self {
        let mut view = Self { factors: Vec::new(), axes: vec![Vec::new(); shape.len()] };
        for &axis in order {
            if shape[axis] != 1 {
                view.axes[axis].push(view.factors.len());
                view.factors.push(shape[axis]);
            }
        }
        view
    }

    /// A value of that shape in row-major order.
    pub(crate) fn row_major(shape: &[usize]) -> Self {
        Self::ordered(shape, &(0..shape.len()).collect::<Vec<_>>())
    }

    /// The logical shape.
    pub(crate) fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| self.size(axis)).collect()
    }

    /// The product of some factors.
    pub(crate) fn size(&self, factors: &[usize]) -> usize {
        factors.iter().map(|&factor| self.factors[factor]).product()
    }

    /// The factors of axes one after the other.
    pub(crate) fn sequence(&self, axes: &[usize]) -> Vec<usize> {
        axes.iter().flat_map(|&axis| self.axes[axis].iter().copied()).collect()
    }

    /// Whether memory lies in the order of these factors, which are all of them.
    pub(crate) fn lies(&self, sequence: &[usize]) -> bool {
        sequence.len() == self.factors.len() && sequence.iter().enumerate().all(|(i, &factor)| i == factor)
    }

    /// The view of memory in which the factors lie in that order, which is of all of them.
    pub(crate) fn in_sequence(&self, sequence: &[usize]) -> Self {
        let place = |factor: usize| sequence.iter().position(|&other| other == factor).expect("all factors are there");
        Self {
            factors: sequence.iter().map(|&factor| self.factors[factor]).collect(),
            axes: self.axes.iter().map(|axis| axis.iter().map(|&factor| place(factor)).collect()).collect(),
        }
    }

    /// Where the last factors in memory are those of one axis, whatever their order: for each place along them the logical index.
    pub(crate) fn innermost(&self, axis: usize) -> Option<Vec<usize>> {
        let own = &self.axes[axis];
        let first = self.factors.len() - own.len();
        if !own.iter().all(|&factor| factor >= first) {
            return None;
        }
        let index = |place: usize| {
            let mut parts = vec![0; own.len()];
            let mut rest = place;
            for (part, &size) in parts.iter_mut().zip(&self.factors[first..]).rev() {
                (*part, rest) = (rest % size, rest / size);
            }
            own.iter().fold(0, |sum, &factor| sum * self.factors[factor] + parts[factor - first])
        };
        Some((0..self.size(own)).map(index).collect())
    }

    /// The logical axis that a factor belongs to.
    pub(crate) fn axis_of(&self, factor: usize) -> usize {
        self.axes.iter().position(|axis| axis.contains(&factor)).expect("every factor is part of an axis")
    }

    /// The order of the logical axes in memory, those of size 1 in front; none if the parts of an axis lie apart.
    pub(crate) fn order(&self) -> Option<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.axes.len()).filter(|&axis| self.axes[axis].is_empty()).collect();
        for factor in 0..self.factors.len() {
            let axis = self.axis_of(factor);
            match order.last() {
                Some(&last) if last == axis => {}
                _ if order.contains(&axis) => return None,
                _ => order.push(axis),
            }
        }
        let sequence = self.sequence(&order);
        self.lies(&sequence).then_some(order)
    }

    /// The same memory with the axes in another order: result axis i is axis `order[i]`.
    pub(crate) fn transposed(&self, order: &[usize]) -> Self {
        Self { factors: self.factors.clone(), axes: order.iter().map(|&axis| self.axes[axis].clone()).collect() }
    }

    /// The same memory under another shape of as many elements; none if an axis of it is no product of parts of factors.
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        // Runs of factors that are neighbours in memory and in the logical order can be cut anywhere.
        let mut runs: Vec<(usize, usize)> = Vec::new(); // first factor, size
        let mut last = None;
        for factor in self.axes.iter().flatten().copied() {
            match runs.last_mut() {
                Some((_, size)) if last == Some(factor.wrapping_sub(1)) => *size *= self.factors[factor],
                _ => runs.push((factor, self.factors[factor])),
            }
            last = Some(factor);
        }
        // Parts: (place in memory, size), the logical axis that each belongs to.
        let mut parts: Vec<((usize, usize), usize, usize)> = Vec::new();
        let (mut run, mut left, mut cuts) = (0, runs.first().map_or(1, |run| run.1), 0);
        for (axis, &size) in shape.iter().enumerate() {
            let mut need = size;
            while need > 1 {
                let (first, _) = *runs.get(run)?;
                let part = if left % need == 0 {
                    need
                } else if need % left == 0 {
                    left
                } else {
                    return None;
                };
                parts.push(((first, cuts), part, axis));
                (need, left, cuts) = (need / part, left / part, cuts + 1);
                if left == 1 {
                    (run, cuts) = (run + 1, 0);
                    left = runs.get(run).map_or(1, |run| run.1);
                }
            }
        }
        if run != runs.len() {
            return None;
        }
        let mut places: Vec<((usize, usize), usize)> = parts.iter().map(|&(place, size, _)| (place, size)).collect();
        places.sort_unstable();
        let mut view =
            Self { factors: places.iter().map(|place| place.1).collect(), axes: vec![Vec::new(); shape.len()] };
        for (place, _, axis) in parts {
            view.axes[axis].push(places.binary_search_by(|other| other.0.cmp(&place)).ok()?);
        }
        Some(view)
    }

    /// The same view with neighbours in memory that are neighbours in an axis made one factor.
    pub(crate) fn joined(&self) -> Self {
        self.reshaped_axiswise().unwrap_or_else(|| self.clone())
    }

    fn reshaped_axiswise(&self) -> Option<Self> {
        // Which factors go on the one before them.
        let goes_on = |factor: usize| {
            self.axes.iter().any(|axis| axis.windows(2).any(|pair| pair[1] == factor && pair[0] + 1 == factor))
        };
        let mut name = Vec::with_capacity(self.factors.len());
        let mut factors: Vec<usize> = Vec::new();
        for (factor, &size) in self.factors.iter().enumerate() {
            if goes_on(factor) {
                *factors.last_mut()? *= size;
            } else {
                factors.push(size);
            }
            name.push(factors.len() - 1);
        }
        let axes = self.axes.iter().map(|axis| {
            let mut axis: Vec<usize> = axis.iter().map(|&factor| name[factor]).collect();
            axis.dedup();
            axis
        });
        Some(Self { factors, axes: axes.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nhwc(shape: &[usize]) -> View {
        View::ordered(shape, &[0, 2, 3, 1])
    }

    #[test]
    fn a_flattened_image_has_its_channels_outside_in_the_logical_order_alone() {
        let flat = nhwc(&[1, 3, 4, 5]).reshaped(&[1, 60]).unwrap();
        // Rows and columns go together everywhere, so they are one factor.
        assert_eq!(flat, View { factors: vec![20, 3], axes: vec![vec![], vec![1, 0]] });
        let square = nhwc(&[1, 3, 4, 5]).reshaped(&[1, 3, 20]).unwrap();
        assert!(square.lies(&square.sequence(&[2, 1])));
    }

    #[test]
    fn a_channel_shuffle_is_a_reshape_a_transpose_and_a_reshape() {
        let split = nhwc(&[1, 6, 4, 4]).reshaped(&[1, 2, 3, 4, 4]).unwrap();
        let shuffled = split.transposed(&[0, 2, 1, 3, 4]).reshaped(&[1, 6, 4, 4]).unwrap();
        // Channel 3 i + j has gone to 2 j + i.
        assert_eq!((&shuffled.factors[..], &shuffled.axes[1][..]), (&[4, 4, 2, 3][..], &[3, 2][..]));
        assert_eq!(shuffled.order(), None);
        assert!(!shuffled.lies(&shuffled.sequence(&[2, 3, 1])));
    }

    #[test]
    fn shapes_that_cut_across_factors_are_refused() {
        assert_eq!(View::ordered(&[1, 6, 4], &[0, 2, 1]).reshaped(&[1, 4, 6]), None);
        assert!(View::row_major(&[1, 6, 4]).reshaped(&[1, 4, 6]).is_some());
    }

    #[test]
    fn axes_of_one_come_and_go() {
        let view = nhwc(&[1, 3, 4, 1]).reshaped(&[1, 1, 3, 4]).unwrap();
        assert_eq!(view.shape(), [1, 1, 3, 4]);
        assert_eq!(view.order().unwrap(), [0, 1, 3, 2]);
        assert_eq!(View::row_major(&[1, 1]).reshaped(&[1]).unwrap().factors, [0; 0]);
    }

    #[test]
    fn neighbours_are_joined() {
        let cut = View { factors: vec![4, 4, 2, 3], axes: vec![vec![], vec![2, 3], vec![0], vec![1]] };
        assert_eq!(cut.joined(), nhwc(&[1, 6, 4, 4]));
    }
}
