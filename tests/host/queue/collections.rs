// SPDX-License-Identifier: GPL-2.0

//! The map and the FIFO that the queue is built from.

use super::*;

#[test]
fn a_slab_uses_numbers_again_and_grows_apart() {
    let mut map = IdMap::new();
    assert!(map.insert(0).is_err(), "no room was made");
    let mut model = HashMap::new();
    let mut random = Random(2);
    for n in 0..5000 {
        if let Some(capacity) = map.grow_request() {
            drop(map.grow(IdMapGrowth::new(capacity).unwrap()));
        }
        if random.below(3) > 0 {
            let number = map.insert(n).unwrap();
            assert!(number < map.end());
            assert!(model.insert(number, n).is_none());
        } else {
            let number = random.below(100) as usize;
            assert_eq!(map.remove(number), model.remove(&number));
        }
        let number = random.below(2000) as usize;
        assert_eq!(map.get(number), model.get(&number));
    }
    assert_eq!(map.len(), model.len());
}

#[test]
fn a_fifo_is_one() {
    let mut fifo = Fifo::new();
    let mut model = VecDeque::new();
    let mut random = Random(3);
    for n in 0..10_000 {
        match random.below(7) {
            5 => {
                let most = random.below(20) as usize;
                let mut taken = fifo.take_front(most);
                assert_eq!(taken.len(), most.min(model.len()));
                let taken_model = model.drain(..taken.len()).collect::<Vec<_>>();
                assert_eq!(taken.front_mut().copied(), taken_model.first().copied());
                if random.below(2) == 0 {
                    fifo.append(&mut taken);
                    model.extend(taken_model);
                } else {
                    taken.append(&mut fifo);
                    fifo = taken;
                    for n in taken_model.into_iter().rev() {
                        model.push_front(n);
                    }
                }
            }
            0 | 1 => {
                fifo.push_back(Entry::new(n).unwrap());
                model.push_back(n);
            }
            2 => {
                fifo.push_front(Entry::new(n).unwrap());
                model.push_front(n);
            }
            3 => assert_eq!(fifo.pop_front().map(|entry| *entry), model.pop_front()),
            _ => {
                let wanted = |value: &u64| value % 7 == random.0 % 7;
                let at = model.iter().position(wanted);
                let taken = fifo.take(wanted).map(|entry| *entry);
                assert_eq!(taken, at.and_then(|at| model.remove(at)));
            }
        }
        assert_eq!(fifo.is_empty(), model.is_empty());
        assert_eq!(fifo.len(), model.len());
        assert!(fifo.iter().eq(model.iter()));
    }
}
