import asyncpg
import redis.asyncio

from services.postgres import PostgresServer
from services.redis import RedisServer


async def test_the_embedded_database_takes_its_password_and_knows_unicode(postgres_server: PostgresServer) -> None:
    at = postgres_server.settings
    connection = await asyncpg.connect(
        host=at.host, port=at.port, user=at.user, database=at.name, password=postgres_server.password, ssl=False
    )
    assert await connection.fetchval("SELECT lower('ÄÖ')") == "äö"
    await connection.close()


async def test_the_embedded_redis_keeps_its_entries_over_a_restart(redis_server: RedisServer) -> None:
    at = redis_server.settings
    client = redis.asyncio.Redis(host=at.host, port=at.port, password=redis_server.password)
    await client.set("kept", "yes")
    redis_server.stop()
    redis_server.start()
    assert await client.getdel("kept") == b"yes"
    await client.aclose()
