"""POST /v1/products: every product on screenshots of shops, with its box and its category."""

import time
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile

from .. import limits
from ..limits import BatchTime, BusyError, RequestError
from ..service import TOP_K, Service
from .problems import NoImageError, documented
from .schemas import FileProblem, Prediction
from .uploads import Uploads, file_name


class Product(Prediction):
    """One product and what the model says about it."""

    box: tuple[int, int, int, int] = Field(description="x, y, width, height in pixels of the screenshot")
    out_of_stock: bool


class Page(BaseModel):
    """One screenshot. Where it cannot be read, only `error` is set."""

    file: str = Field(description="the name that came with the upload")
    kind: Literal["grid", "single", "other"] | None = Field(
        default=None, description="several products in columns, one large image, or no product"
    )
    width: int | None = None
    height: int | None = None
    products: list[Product] = Field(default=[], description="from top to bottom; empty where there is none")
    error: str | None = None


class ProductsAnswer(BaseModel):
    model: str
    milliseconds: float = Field(description="from the end of the upload to the answer")
    results: list[Page] = Field(description="in the order of the files")


def add_products(app: FastAPI, service: Service, form: dict[str, Any]) -> None:
    """form: the schema of the request's body."""
    model_names: Any = Literal[tuple(service.names)]  # known only at run time

    @app.post(
        "/v1/products",
        tags=["classify"],
        summary="Find and classify the products on screenshots",
        responses=documented(400, 408, 413, 415, 422, 503),
        openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}},
    )
    def products(
        files: Annotated[list[UploadFile], Depends(Uploads(service.turns).receive)],
        model: Annotated[model_names, Query(description="a name from /v1/models")] = service.page_model,
        top_k: Annotated[int, Query(ge=1, le=limits.MAX_TOP_K, description="how many labels to list")] = TOP_K,
    ) -> ProductsAnswer:
        """A page without products has an empty list; the request fails only if no file can be read."""
        start = time.monotonic()
        batch_time = BatchTime()
        pages: list[Page] = []
        problems: list[RequestError] = []
        for file in files:
            try:
                page, problem = find(service, file, model, top_k, batch_time)
            except BusyError:
                if not pages:
                    raise
                batch_time.give_way()
                page, problem = find(service, file, model, top_k, batch_time)
            pages.append(page)
            problems += [problem] if problem else []
        if len(problems) == len(pages):
            raise NoImageError(problems[0], [FileProblem(file=page.file, reason=page.error or "") for page in pages])
        return ProductsAnswer(model=model, milliseconds=round(1000 * (time.monotonic() - start), 1), results=pages)


def find(
    service: Service, file: UploadFile, model: str, top_k: int, batch_time: BatchTime
) -> tuple[Page, RequestError | None]:
    """One screenshot's row, and what is wrong with it. Raises BusyError."""
    name = file_name(file)
    try:
        if late := batch_time.over():
            raise RequestError(late)
        answer = service.find_products(file.file.read(), model, top_k).to_dict()
    except BusyError:
        raise
    except RequestError as error:
        return Page(file=name, error=str(error)), error
    return Page(file=name, **{key: answer[key] for key in ("kind", "width", "height", "products")}), None
