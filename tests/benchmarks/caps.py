"""The cap over texts of 30 scripts, against services whose tokens are not ours: `tests/benchmarks/caps.py [--jobs N]`.

Each job draws one to three languages, at least 50 documents, and for each language how many tokens the service makes of
one of ours: from 0.9 up to what a vocabulary of single bytes would make (Petrov and others, 2023, measured vocabularies
up to there). It runs without a cap for its true cost, then under a cap of 1.3 times that, which has to complete, then
under one of 0.3 to 0.9 times that, which has to hold, every third time killed with SIGKILL in between and gone on with.
The truth is what the service counts. Prints a table; exit code 1 where a cap was passed or a run under 1.3 times the
true cost was not complete.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from docreduce.config import load_job
from docreduce.engine.run import RunOptions, run_job
from docreduce.text.tokens import tokenizer

SAMPLES = {
    "Latin, English": "The old house stands by the river and the rain falls on its roof all night.",
    "Latin, German": "Das alte Haus steht am Fluss und der Regen fällt die ganze Nacht auf sein Dach.",
    "Latin, Vietnamese": "Ngôi nhà cũ nằm bên bờ sông và mưa rơi trên mái nhà suốt cả đêm dài.",
    "Latin, Turkish": "Eski ev nehrin kıyısında duruyor ve yağmur bütün gece çatısına yağıyor.",
    "Latin, Yoruba": "Ilé àtijọ́ náà dúró sí ẹ̀bá odò, òjò sì ń rọ̀ sórí òrùlé rẹ̀ ní gbogbo òru.",
    "Cyrillic": "Старый дом стоит у реки, и дождь всю ночь падает на его крышу.",
    "Greek": "Το παλιό σπίτι στέκεται δίπλα στο ποτάμι και η βροχή πέφτει όλη τη νύχτα στη στέγη του.",
    "Armenian": "Հին տունը կանգնած է գետի ափին, և անձրևը ամբողջ գիշեր թափվում է նրա տանիքին։",
    "Georgian": "ძველი სახლი მდინარის პირას დგას და წვიმა მთელი ღამე ეცემა მის სახურავს.",
    "Hebrew": "הבית הישן עומד ליד הנהר והגשם יורד על הגג שלו כל הלילה.",
    "Arabic": "البيت القديم يقف بجانب النهر والمطر يهطل على سطحه طوال الليل.",
    "Arabic, Urdu": "پرانا گھر دریا کے کنارے کھڑا ہے اور بارش ساری رات اس کی چھت پر گرتی ہے۔",
    "Devanagari": "पुराना घर नदी के किनारे खड़ा है और बारिश सारी रात उसकी छत पर गिरती है।",
    "Bengali": "পুরানো বাড়িটি নদীর ধারে দাঁড়িয়ে আছে এবং সারা রাত তার ছাদে বৃষ্টি পড়ে।",
    "Gurmukhi": "ਪੁਰਾਣਾ ਘਰ ਦਰਿਆ ਦੇ ਕੰਢੇ ਖੜ੍ਹਾ ਹੈ ਅਤੇ ਮੀਂਹ ਸਾਰੀ ਰਾਤ ਉਸਦੀ ਛੱਤ ਉੱਤੇ ਪੈਂਦਾ ਹੈ।",
    "Gujarati": "જૂનું ઘર નદીના કિનારે ઊભું છે અને વરસાદ આખી રાત તેની છત પર પડે છે.",
    "Odia": "ପୁରୁଣା ଘର ନଦୀ କୂଳରେ ଠିଆ ହୋଇଛି ଏବଂ ବର୍ଷା ସାରା ରାତି ତାର ଛାତ ଉପରେ ପଡ଼େ।",
    "Tamil": "பழைய வீடு ஆற்றின் கரையில் நிற்கிறது, மழை இரவு முழுவதும் அதன் கூரை மீது விழுகிறது.",
    "Telugu": "పాత ఇల్లు నది ఒడ్డున ఉంది, వర్షం రాత్రంతా దాని పైకప్పు మీద పడుతుంది.",
    "Kannada": "ಹಳೆಯ ಮನೆ ನದಿಯ ದಡದಲ್ಲಿ ನಿಂತಿದೆ, ಮಳೆ ರಾತ್ರಿಯಿಡೀ ಅದರ ಛಾವಣಿಯ ಮೇಲೆ ಬೀಳುತ್ತದೆ.",
    "Malayalam": "പഴയ വീട് പുഴയുടെ തീരത്ത് നിൽക്കുന്നു, മഴ രാത്രി മുഴുവൻ അതിന്റെ മേൽക്കൂരയിൽ വീഴുന്നു.",
    "Sinhala": "පරණ ගෙදර ගඟ අද්දර තිබෙන අතර වැස්ස රෑ පුරාම එහි වහලයට වැටේ.",
    "Thai": "บ้านเก่าตั้งอยู่ริมแม่น้ำและฝนตกลงบนหลังคาตลอดทั้งคืน",
    "Lao": "ເຮືອນເກົ່າຕັ້ງຢູ່ແຄມແມ່ນ້ຳ ແລະ ຝົນຕົກລົງເທິງຫຼັງຄາຕະຫຼອດຄືນ",
    "Burmese": "အိမ်ဟောင်းသည် မြစ်ကမ်းနားတွင် ရှိပြီး မိုးသည် တစ်ညလုံး အမိုးပေါ်သို့ ရွာသည်။",
    "Khmer": "ផ្ទះចាស់ស្ថិតនៅមាត់ទន្លេ ហើយភ្លៀងធ្លាក់លើដំបូលរបស់វាពេញមួយយប់។",
    "Ethiopic": "አሮጌው ቤት ከወንዙ አጠገብ ቆሟል፤ ዝናቡም ሌሊቱን ሙሉ በጣሪያው ላይ ይዘንባል።",
    "Tibetan": "ཁང་པ་རྙིང་པ་དེ་གཙང་པོའི་འགྲམ་དུ་ཡོད་ཅིང་མཚན་གང་པོར་ཆར་པ་འབབ།",
    "Han": "老房子立在河边，雨整夜落在它的屋顶上，第二天早晨太阳又出来了。",
    "Kana": "古い家は川のそばに立っていて、雨は一晩中その屋根に降りつづけます。",
    "Hangul": "오래된 집은 강가에 서 있고 비는 밤새도록 그 지붕 위에 내립니다.",
}
INPUT_PUSD, OUTPUT_PUSD = 70_000, 280_000
ROOM = 1.3
"""Of the true cost, the cap under which a job of 50 calls has to complete."""


@dataclass
class Books:
    """What a service has counted."""

    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pusd(self) -> int:
        return self.input_tokens * INPUT_PUSD + self.output_tokens * OUTPUT_PUSD


@contextlib.contextmanager
def serving(ratios: dict[str, float], seed: int, latency_s: float) -> Iterator[tuple[str, Books]]:
    """A service that counts each language in its own way: its address and its books."""
    books, ours = Books(), tokenizer("o200k_base")
    draw = random.Random(seed)

    def counted(text: str) -> int:
        ratio = next((ratio for name, ratio in ratios.items() if SAMPLES[name][:12] in text), 1.0)
        return min(len(text.encode()), round(ours.count(text) * ratio))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(latency_s)
            with books.lock:
                busy, words = draw.random() < 0.03, draw.randint(10, 30)
            if busy:
                self.reply(503, {"error": {"message": "overloaded"}})
                return
            text = asked["messages"][-1]["content"]
            sample = next((SAMPLES[name] for name in ratios if SAMPLES[name][:12] in text), SAMPLES["Latin, English"])
            answer = (sample * 4)[: words * 6]
            prompt = sum(counted(message["content"]) + 8 for message in asked["messages"])
            spoken = min(counted(answer), asked.get("max_tokens") or asked["max_completion_tokens"])
            with books.lock:
                books.input_tokens += prompt
                books.output_tokens += spoken
                books.calls += 1
            usage = {"prompt_tokens": prompt, "completion_tokens": spoken, "total_tokens": prompt + spoken}
            message = {"role": "assistant", "content": answer}
            self.reply(200, {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": usage})

        def reply(self, status: int, body: Any) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Nothing on the screen for each call."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that was killed is no error here."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", books
    finally:
        server.shutdown()
        server.server_close()


def drawn(number: int, folder: Path) -> dict[str, float]:
    """Write the documents of a job; the tokens of its service for one of ours, by language."""
    draw, ours = random.Random(number), tokenizer("o200k_base")
    names = list(SAMPLES)
    chosen = list(dict.fromkeys([names[number % len(names)], *draw.sample(names, draw.choice([0, 0, 1, 2]))]))
    folder.mkdir()
    for at in range(draw.choice([50, 60, 90])):
        sample = SAMPLES[chosen[draw.randrange(len(chosen))]]
        (folder / f"{at:03}.txt").write_text(f"{at}. " + " ".join([sample] * draw.randint(2, 25)), encoding="utf-8")
    most = {name: len(SAMPLES[name].encode()) / ours.count(SAMPLES[name]) for name in chosen}
    return {name: round(draw.uniform(0.9, max(1.0, most[name])), 3) for name in chosen}


def job_file(number: int, folder: Path, url: str, name: str, cap_pusd: float | None) -> Path:
    path = folder / f"{name}.toml"
    cap = "" if cap_pusd is None else f"[budget]\nmax_cost_usd = {cap_pusd / 1e12:.12f}\n"
    path.write_text(
        f'name = "caps"\nkind = "summarize"\n[input]\npaths = ["{folder / "in"}"]\n[summarize]\nmax_words = 40\n'
        f'[model]\nprovider = "openai"\nname = "counting"\nbase_url = "{url}"\ncontext_window = 100_000\n'
        f"max_output_tokens = 600\n[limits]\nconcurrency = {[4, 16, 64][number % 3]}\n"
        f"[pricing]\ninput_usd_per_million = {INPUT_PUSD / 1e6}\noutput_usd_per_million = {OUTPUT_PUSD / 1e6}\n"
        f'[output]\npath = "{folder / name}"\nreport = false\n{cap}'
    )
    return path


def booked_pusd(ledger: Path) -> int:
    with contextlib.closing(sqlite3.connect(ledger)) as opened:
        (total,) = opened.execute("SELECT sum(cost_pusd) FROM attempt WHERE billing <> 'free'").fetchone()
    return int(total or 0)


@dataclass
class Outcome:
    """What one job showed: calls, the true cost; under the roomy cap whether it was complete and what part of the cap
    it needed; under the tight one what part was used, whether it was killed; what is wrong."""

    scripts: list[str]
    calls: int = 0
    complete: bool = False
    tight: float = 0.0
    killed: bool = False
    wrong: list[str] = field(default_factory=list)


def play(number: int) -> Outcome:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ratios = drawn(number, folder / "in")
        seen = Outcome(scripts=list(ratios))
        with serving(ratios, number, 0.002) as (url, books):
            run_job(load_job(job_file(number, folder, url, "free", None)))
            true, seen.calls = books.pusd, books.calls
        with serving(ratios, number, 0.002) as (url, books):
            manifest = run_job(load_job(job_file(number, folder, url, "roomy", ROOM * true)))
            seen.complete = manifest["status"] == "complete"
            held(books, folder / "roomy", ROOM * true, seen.wrong)
        draw = random.Random(number + 10**6)
        cap = draw.uniform(0.3, 0.9) * true
        seen.killed = number % 3 == 0
        with serving(ratios, number, 0.02 if seen.killed else 0.002) as (url, books):
            job = job_file(number, folder, url, "tight", cap)
            if seen.killed:
                kill(job, books, draw.randint(1, max(1, seen.calls // 4)))
            run_job(load_job(job), RunOptions())
            held(books, folder / "tight", cap, seen.wrong)
            seen.tight = books.pusd / cap
        return seen


def kill(job: Path, books: Books, calls: int) -> None:
    """Run it in a process of its own that is killed after so many calls."""
    command = [sys.executable, "-m", "docreduce", "run", str(job), "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and books.calls < calls:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    time.sleep(0.1)  # what the service was asked is counted, though nobody hears its answer


def held(books: Books, output: Path, cap: float, wrong: list[str]) -> None:
    """Neither the truth nor what is booked may pass the cap, nor the truth what is booked."""
    ours = booked_pusd(output / "ledger.sqlite")
    if not books.pusd <= ours <= cap + 1:
        wrong.append(f"{output.name}: cap {cap:.0f}, booked {ours}, truly {books.pusd} pico-dollars")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=31)
    parser.add_argument("--seed", type=int, default=0, help="the first job's")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    numbers = range(options.seed, options.seed + options.jobs)
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        for number, seen in zip(numbers, pool.map(play, numbers), strict=True):
            outcomes.append(seen)
            if seen.wrong or not seen.complete:
                print(
                    f"job {number} ({', '.join(seen.scripts)}): complete {seen.complete}",
                    *seen.wrong,
                    sep="\n  ",
                    flush=True,
                )
    complete = sum(seen.complete for seen in outcomes)
    passed = sum(bool(seen.wrong) for seen in outcomes)
    scripts = Counter(name for seen in outcomes for name in seen.scripts)
    print(f"jobs {len(outcomes)}, languages {len(scripts)}, calls {sum(seen.calls for seen in outcomes):,}")
    print(f"caps passed, or less booked than used: {passed}")
    print(f"complete under {ROOM} x the true cost: {complete} of {len(outcomes)}")
    print(f"killed in between: {sum(seen.killed for seen in outcomes)}")
    print(f"of a tight cap used: median {median(seen.tight for seen in outcomes):.2f}, "
          f"least {min(seen.tight for seen in outcomes):.2f}")  # fmt: skip
    return 1 if passed or complete < len(outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
