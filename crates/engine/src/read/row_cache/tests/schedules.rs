//! The protocol of a get and a flush with shuttle's threads: it may change them at each
//! lock and at each of the cache's atomics, inside a step as well as between two.

use super::*;
use tanada_vfs::sync::{explore, shuttle::thread};

// Found: an insert that looks at the generation before it has the shard's lock; and a
// planted bug: one that does not look.
#[test]
fn schedules_of_readers_beside_flushes() {
    explore("readers_beside_flushes", 30, || {
        let engine = Arc::new(Engine::new());
        engine.write(7, 1);
        engine.flush();
        let readers = [(); 2].map(|()| {
            let engine = Arc::clone(&engine);
            thread::spawn(move || {
                let mut last = 0;
                for _ in 0..2 {
                    let began = engine.visible.load(Acquire);
                    let found = Get::of(7).run(&engine).expect("written before");
                    assert!(found >= began, "found {found}, but {began} was visible before");
                    assert!(found >= last, "an older version came back");
                    last = found;
                }
            })
        });
        for seqno in 2..=3 {
            engine.write(7, seqno);
            engine.flush();
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        // Twice: what the tables say, and what is cached by now.
        assert_eq!([(); 2].map(|()| Get::of(7).run(&engine)), [Some(3); 2]);
        check(&engine.cache);
    });
}
