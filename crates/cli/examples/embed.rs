//! A program that embeds Tanada: the README's example, compiled.

use tanada::{Batch, Db, Durability};

fn main() -> tanada::Result<()> {
    let db = Db::builder("data").memory(1 << 30).durability(Durability::Buffered).open()?;

    db.put("user:1", "Aya")?;
    if let Some(name) = db.get("user:1")? {
        println!("{}", String::from_utf8_lossy(&name));
    }

    let mut batch = Batch::new(); // all or nothing
    batch.put("user:2", "Ken");
    batch.delete("user:1");
    db.write(batch)?;

    for entry in db.prefix("user:") {
        let (key, value) = entry?;
        println!("{key:?} = {value:?}");
    }
    db.close()
}
