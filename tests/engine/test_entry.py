"""Taking a run over: what rests goes on when its time has come, whatever the time of day did meanwhile."""

from tests.engine.mortal import House, begin, simulate
from windlass import Context, Pipeline, Retry, task


def test_a_sleep_that_is_over_holds_no_retry_though_the_time_of_day_went_back() -> None:
    async def main(house: House) -> None:
        @task(retry=Retry.fixed(30, on=ConnectionError))
        async def nap(n: int, ctx: Context) -> int:
            await ctx.sleep(3600)
            if ctx.attempt == 1:
                house.clock.jump(-3000)
                raise ConnectionError
            return n

        found = await house.live(begin(Pipeline("p", [nap]), 1))
        assert found is not None
        assert found.output == 1
        assert house.clock.monotonic() < 3700

    simulate(main)
